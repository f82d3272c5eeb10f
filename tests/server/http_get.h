// One HTTP/1.0 exchange with 127.0.0.1, head and body as they came.
#pragma once

#include <string>

namespace switchyard {

// `headers` are whole lines with \r\n; `method` as given. "" when nobody answers.
std::string HttpExchange(int port, const std::string& path, const std::string& headers = "", const std::string& method = "GET");
// What follows the head.
std::string HttpBody(const std::string& reply);

}  // namespace switchyard
