// The version the server reports. Set by the build from the project's version.
#pragma once

namespace switchyard {
inline constexpr const char kServerVersion[] = SWITCHYARD_VERSION;
}  // namespace switchyard
