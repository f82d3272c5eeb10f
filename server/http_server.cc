#include "server/http_server.h"

#include <civetweb.h>

#include "server/log.h"

namespace switchyard {
namespace {

int OnComplaint(const mg_connection*, const char* message) {
  Log(LogLevel::kWarning, "http", {{"message", message}});
  return 1;  // not written anywhere else
}

const char* Reason(int code) {
  switch (code) {
    case 200:
      return "OK";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    default:
      return "Internal Server Error";
  }
}

std::string Render(const HttpReply& reply, bool with_body) {
  std::string text = "HTTP/1.1 " + std::to_string(reply.code) + " " + Reason(reply.code) + "\r\nContent-Type: " + reply.content_type +
                     "\r\nContent-Length: " + std::to_string(reply.body.size()) +
                     "\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n";
  for (const auto& [name, value] : reply.headers) text += name + ": " + value + "\r\n";
  text += "\r\n";
  return with_body ? text + reply.body : text;
}

}  // namespace

StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const std::string& address, std::map<std::string, Handler> handlers) {
  std::unique_ptr<HttpServer> server(new HttpServer(std::move(handlers)));
  mg_callbacks callbacks = {};
  callbacks.begin_request = OnRequest;
  callbacks.log_message = OnComplaint;
  const std::string threads = std::to_string(kThreads);
  const char* options[] = {"listening_ports", address.c_str(),     "num_threads", threads.c_str(), "request_timeout_ms",
                           "10000",           "enable_keep_alive", "no",          nullptr};
  server->context_ = mg_start(&callbacks, server.get(), options);
  if (server->context_ == nullptr) return Unavailable("metrics: cannot listen on %s (is another server there?)", address);
  mg_server_port port = {};
  if (mg_get_server_ports(server->context_, 1, &port) == 1) server->port_ = port.port;
  return server;
}

HttpServer::~HttpServer() {
  if (context_ != nullptr) mg_stop(context_);
}

HttpReply HttpServer::Answer(const std::string& method, const HttpRequest& request) const {
  const auto handler = handlers_.find(request.path);
  if (handler == handlers_.end()) return {404, "text/plain; charset=utf-8", "there is nothing here\n", {}};
  if (method != "GET" && method != "HEAD") return {405, "text/plain; charset=utf-8", "only GET and HEAD\n", {{"Allow", "GET, HEAD"}}};
  // An exception must not reach the library's C code.
  try {
    return handler->second(request);
  } catch (const std::exception& error) {
    Log(LogLevel::kError, "http", {{"path", handler->first}, {"message", error.what()}});
    return {500, "text/plain; charset=utf-8", "this page could not be made\n", {}};
  }
}

int HttpServer::OnRequest(mg_connection* connection) {
  const mg_request_info* info = mg_get_request_info(connection);
  const auto* server = static_cast<const HttpServer*>(info->user_data);
  const char* authorization = mg_get_header(connection, "Authorization");
  const std::string method = info->request_method != nullptr ? info->request_method : "";
  const HttpReply reply =
      server->Answer(method, {info->local_uri != nullptr ? info->local_uri : "", authorization != nullptr ? authorization : ""});
  const std::string text = Render(reply, method != "HEAD");
  mg_write(connection, text.data(), text.size());
  return reply.code;  // handled: the library looks for no file
}

}  // namespace switchyard
