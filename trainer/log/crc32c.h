// CRC-32C (Castagnoli), and TFRecord's mask over it.
#pragma once

#include <cstdint>
#include <string_view>

namespace switchyard::trainer {

uint32_t Crc32c(std::string_view bytes);
uint32_t MaskedCrc32c(std::string_view bytes);  // ((crc >> 15) | (crc << 17)) + 0xa282ead8

}  // namespace switchyard::trainer
