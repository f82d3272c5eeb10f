// How far the experts' routing representations point in different directions. Which representation that is belongs into the figure's label:
// numbers over different ones cannot be compared.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace switchyard {

// Over the Gram matrix G of the E row-normalised rows that are not zero.
struct GramFigures {
  std::optional<double> mean_abs;       // mean |G_ij| over i != j: [0, 1], 0 is orthogonal. Absent for fewer than two rows
  std::optional<double> orthogonality;  // 1 - |G - I|_F / (E sqrt 2): 1 is orthogonal; full collapse is 1 - sqrt((E - 1) / (2 E)), not 0
  std::optional<double> orthogonality_rms;  // 1 - root mean square of G_ij, i != j: [0, 1]. Absent for fewer than two rows
  std::optional<double> diversity;          // 1 - mean G_ij, signed: [0, 1 + 1 / (E - 1)]. Absent for fewer than two rows
};

// `rows` is [E, dimension]. All absent when every row is zero.
GramFigures ComputeGram(std::span<const double> rows, int32_t dimension);

// A representation every router has, its parameters whatever they are: expert e's probabilities over a fixed set of T tokens, minus their
// mean. `probabilities` [T, E]; returns [E, T].
std::vector<double> ProbabilityColumns(std::span<const float> probabilities, int32_t num_experts);

}  // namespace switchyard
