// What is asked of every call before it may begin, and what is written about it when it ends.
#pragma once

#include <string>

#include "server/tenant_options.h"

namespace switchyard {

struct GateOptions {
  std::string tokens;                 // file of bearer tokens (server/token_table.h); "": everybody may do everything
  TenantOptions tenants;              // limits of each tenant; none by default
  double max_request_seconds = 3600;  // no request may take longer, whatever its own deadline; 0: no bound
  double log_requests = 1;            // share of finished requests that get a log line; INTERNAL ones always do
};

}  // namespace switchyard
