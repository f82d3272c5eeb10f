#include "engine/model/rope.h"

#include <ATen/ATen.h>

#include <numbers>

namespace switchyard {

namespace {

// Long wavelengths are divided by `factor`, short ones stay, those between are interpolated.
at::Tensor ScaleLlama3(const at::Tensor& inv_freq, const RopeConfig::Llama3& scaling) {
  const double low_wavelength = scaling.original_max_positions / scaling.low_freq_factor;
  const double high_wavelength = scaling.original_max_positions / scaling.high_freq_factor;
  const at::Tensor wavelength = 2 * std::numbers::pi / inv_freq;
  const at::Tensor scaled = at::where(wavelength > low_wavelength, inv_freq / scaling.factor, inv_freq);
  const at::Tensor smooth =
      (scaling.original_max_positions / wavelength - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
  const at::Tensor between = (1 - smooth) * scaled / scaling.factor + smooth * scaled;
  const at::Tensor medium = (wavelength >= high_wavelength).logical_and(wavelength <= low_wavelength);
  return at::where(medium, between, scaled);
}

}  // namespace

RopeTable MakeRopeTable(const RopeConfig& config, int64_t head_dim, int64_t positions) {
  const at::Tensor exponent = at::arange(0, head_dim, 2, at::kLong).to(at::kFloat) / static_cast<double>(head_dim);
  at::Tensor inv_freq = 1.0 / at::pow(config.theta, exponent);
  if (config.linear_factor) inv_freq = inv_freq / *config.linear_factor;
  if (config.llama3) inv_freq = ScaleLlama3(inv_freq, *config.llama3);
  const at::Tensor angles = at::arange(positions, at::kFloat).unsqueeze(1) * inv_freq.unsqueeze(0);
  return {angles.cos(), angles.sin()};
}

}  // namespace switchyard
