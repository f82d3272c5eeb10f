// The live page: one HTML document that needs nothing but /status.json.
#pragma once

#include <string>

namespace switchyard {

// server/live_page.html as it is.
extern const char kLivePageHtml[];

// A Content-Security-Policy under which the page's own style and script run, known by their hashes, and nothing else: no other origin, no
// frame around it, no form, no inline attribute.
std::string LivePagePolicy();

}  // namespace switchyard
