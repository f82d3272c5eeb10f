// Building seeded tensors: shared by random_base.cc, fixtures.cc and router_fixture.cc.
#pragma once

#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/artifact/bf16.h"
#include "engine/artifact/fixtures.h"
#include "engine/artifact/router_artifact.h"
#include "engine/artifact/seeded.h"
#include "engine/artifact/tensor_view.h"

namespace switchyard {

// Normal(0, stddev) of the stream named `name`, in f32 or bf16.
inline TensorView SeededTensor(const std::string& name, std::vector<int64_t> shape, double stddev, uint64_t seed, DType dtype,
                               double mean = 0) {
  TensorView view{name, dtype, std::move(shape), {}, nullptr};
  const int64_t n = view.elements();
  auto bytes = std::make_shared<std::vector<std::byte>>(static_cast<size_t>(n * DTypeBytes(dtype)));
  SeededRandom random(seed, name);
  for (int64_t i = 0; i < n; ++i) {
    const auto value = static_cast<float>(mean + stddev * random.Normal());
    if (dtype == DType::kBF16) {
      const uint16_t bits = RoundToBf16(value);
      std::memcpy(bytes->data() + i * 2, &bits, 2);
    } else {
      std::memcpy(bytes->data() + i * 4, &value, 4);
    }
  }
  view.data = *bytes;
  view.owner = bytes;
  return view;
}

template <typename T>
TensorView TensorOf(const std::string& name, DType dtype, std::vector<int64_t> shape, const std::vector<T>& values) {
  auto copy = std::make_shared<std::vector<T>>(values);
  return {name, dtype, std::move(shape), std::as_bytes(std::span(*copy)), copy};
}

// Seeded tensors of a router with golden probes; fills manifest.golden_probes. `manifest` names kind, layers, hidden size, experts and
// rule.
StatusOr<std::vector<TensorView>> SeededRouterTensors(RouterManifest* manifest, uint64_t seed);

}  // namespace switchyard
