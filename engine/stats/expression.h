// For routers that describe every expert by an expression vector: does it point where the router's choice points, and apart from the
// others?
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace switchyard {

// Mean over experts of cos(mean expression e, mean routing representation e). Both are [E, dimension], means over tokens. An expert of
// which either row is zero is skipped; absent when none is left, or when the two differ in size. [-1, 1].
std::optional<double> ExpressionAlignment(std::span<const double> expressions, std::span<const double> routing, int32_t dimension);

// GramFigures::orthogonality of the expressions' means [E, dimension]. `shared`: the experts have one expression vector between them; then
// the figure would be that of a full collapse by construction, and is absent.
std::optional<double> ExpressionOrthogonality(std::span<const double> expressions, int32_t dimension, bool shared);

}  // namespace switchyard
