// What the HTTP port answers: /metrics, /status.json, the live page, /livez.
#pragma once

#include <prometheus/collectable.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "server/authorization.h"
#include "server/http_server.h"
#include "server/status_json.h"

namespace switchyard {

// /metrics and /status.json want a token with the role metrics where there is a token file. The page itself (/) holds no figure and is
// open: it asks for the token. So is /livez, which says that the process answers. `authorizer` and `status` must outlive the handlers.
std::map<std::string, HttpServer::Handler> WebPages(const Authorizer& authorizer, StatusJson* status,
                                                    std::vector<std::shared_ptr<const prometheus::Collectable>> collectables);

}  // namespace switchyard
