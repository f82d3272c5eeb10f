// HOST:PORT as the settings have it.
#pragma once

#include <string>

namespace switchyard {

// Whether only this machine can reach what listens there: 127.0.0.0/8, [::1], localhost, a Unix socket (unix:PATH). Anything that cannot
// be understood is not loopback. Pure; resolves no names.
bool IsLoopback(const std::string& address);

}  // namespace switchyard
