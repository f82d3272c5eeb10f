// A small HTTP server for the metrics and the live page: fixed paths, GET and HEAD, no files.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/status.h"

struct mg_connection;
struct mg_context;

namespace switchyard {

struct HttpRequest {
  std::string path;           // decoded, without query
  std::string authorization;  // the header; "" when there is none
};

struct HttpReply {
  int code = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
};

// Runs its own threads (kThreads); handlers are called on them, several at once. The destructor waits for the calls under way and takes
// about two seconds: that is how long its library sleeps.
class HttpServer {
 public:
  using Handler = std::function<HttpReply(const HttpRequest&)>;
  static constexpr int kThreads = 4;

  // `address` is HOST:PORT, port 0 picks one. `handlers` by exact path; any other path is 404, any other method 405. An exception of a
  // handler is answered with 500. UNAVAILABLE when the address cannot be had.
  static StatusOr<std::unique_ptr<HttpServer>> Start(const std::string& address, std::map<std::string, Handler> handlers);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  int port() const { return port_; }

 private:
  explicit HttpServer(std::map<std::string, Handler> handlers) : handlers_(std::move(handlers)) {}
  static int OnRequest(mg_connection* connection);
  HttpReply Answer(const std::string& method, const HttpRequest& request) const;

  const std::map<std::string, Handler> handlers_;
  mg_context* context_ = nullptr;
  int port_ = 0;
};

}  // namespace switchyard
