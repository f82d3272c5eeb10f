#include "server/web_pages.h"

#include <prometheus/text_serializer.h>

#include <utility>

#include "server/live_page.h"

namespace switchyard {
namespace {

HttpServer::Handler Guarded(const Authorizer& authorizer, HttpServer::Handler handler) {
  return [&authorizer, handler = std::move(handler)](const HttpRequest& request) -> HttpReply {
    const auto identity = authorizer.Check(request.authorization, Role::kMetrics);
    if (identity.ok()) return handler(request);
    const bool unknown = identity.status().code() == absl::StatusCode::kUnauthenticated;
    HttpReply refusal{unknown ? 401 : 403, "text/plain; charset=utf-8", std::string(Message(identity.status())) + "\n", {}};
    if (unknown) refusal.headers = {{"WWW-Authenticate", "Bearer realm=\"switchyard\""}};
    return refusal;
  };
}

std::string MetricsText(const std::vector<std::shared_ptr<const prometheus::Collectable>>& collectables) {
  std::vector<prometheus::MetricFamily> families;
  for (const auto& collectable : collectables) {
    std::vector<prometheus::MetricFamily> some = collectable->Collect();
    families.insert(families.end(), std::make_move_iterator(some.begin()), std::make_move_iterator(some.end()));
  }
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace

std::map<std::string, HttpServer::Handler> WebPages(const Authorizer& authorizer, StatusJson* status,
                                                    std::vector<std::shared_ptr<const prometheus::Collectable>> collectables) {
  std::map<std::string, HttpServer::Handler> pages;
  pages["/metrics"] = Guarded(authorizer, [collectables = std::move(collectables)](const HttpRequest&) {
    return HttpReply{200, "text/plain; version=0.0.4; charset=utf-8", MetricsText(collectables), {}};
  });
  pages["/status.json"] = Guarded(authorizer, [status](const HttpRequest&) {
    return HttpReply{200, "application/json; charset=utf-8", status->Text(), {}};
  });
  pages["/"] = [policy = LivePagePolicy()](const HttpRequest&) {
    return HttpReply{200,
                     "text/html; charset=utf-8",
                     kLivePageHtml,
                     {{"Content-Security-Policy", policy}, {"Referrer-Policy", "no-referrer"}, {"X-Frame-Options", "DENY"}}};
  };
  pages["/livez"] = [](const HttpRequest&) { return HttpReply{200, "text/plain; charset=utf-8", "ok\n", {}}; };
  return pages;
}

}  // namespace switchyard
