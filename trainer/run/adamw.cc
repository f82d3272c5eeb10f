#include "trainer/run/adamw.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace switchyard::trainer {

AdamW::AdamW(std::vector<Parameter> parameters, const AdamWOptions& options) : options_(options), parameters_(std::move(parameters)) {
  for (const Parameter& parameter : parameters_) {
    first_.push_back(at::zeros_like(parameter.grad));
    second_.push_back(at::zeros_like(parameter.grad));
  }
}

void AdamW::ZeroGradients() {
  for (Parameter& parameter : parameters_) parameter.grad.zero_();
}

void AdamW::Reset() {
  for (at::Tensor& moment : first_) moment.zero_();
  for (at::Tensor& moment : second_) moment.zero_();
  steps_ = 0;
}

double AdamW::Step(double learning_rate) {
  c10::AutoGradMode no_grad(false);
  double squares = 0;
  for (const Parameter& parameter : parameters_) squares += parameter.grad.square().sum(at::kDouble).item<double>();
  const double norm = std::sqrt(squares);
  if (!std::isfinite(norm)) return norm;
  const double scale = options_.clip > 0 && norm > options_.clip ? options_.clip / norm : 1.0;
  ++steps_;
  const double correct1 = 1 - std::pow(options_.beta1, static_cast<double>(steps_)),
               correct2 = 1 - std::pow(options_.beta2, static_cast<double>(steps_));
  for (size_t i = 0; i < parameters_.size(); ++i) {
    Parameter& p = parameters_[i];
    if (scale != 1) p.grad.mul_(scale);
    first_[i].mul_(options_.beta1).add_(p.grad, 1 - options_.beta1);
    second_[i].mul_(options_.beta2).addcmul_(p.grad, p.grad, 1 - options_.beta2);
    at::Tensor value = p.value.detach();
    if (p.decay && options_.weight_decay > 0) value.mul_(1 - learning_rate * options_.weight_decay);
    value.addcdiv_(first_[i], second_[i].sqrt().div_(std::sqrt(correct2)).add_(options_.epsilon), -learning_rate / correct1);
  }
  return norm;
}

double Schedule::At(int64_t step, int64_t total_steps) const {
  const double warmup = std::max(1.0, std::round(warmup_share * static_cast<double>(total_steps)));
  if (static_cast<double>(step) < warmup) return peak * static_cast<double>(step + 1) / warmup;
  const double rest = std::max(1.0, static_cast<double>(total_steps) - warmup),
               done = std::min(1.0, (static_cast<double>(step) - warmup) / rest);
  return peak * (final_share + (1 - final_share) * 0.5 * (1 + std::cos(std::numbers::pi * done)));
}

}  // namespace switchyard::trainer
