// e^x on vectors. Included by the *_impl.h of this room only.
#pragma once

#include "engine/kernels/inline.h"

namespace switchyard::kernels {

// Within about 2 units in the last place; 0 below -104, infinity above 88.73, NaN for NaN. Lanes are independent: an element's result does
// not depend on its position.
template <typename S>
SWITCHYARD_INLINE typename S::F Exp(typename S::F x) {
  using F = typename S::F;
  x = S::Min(S::Set1(89.0f), x);  // the second operand comes through when either is NaN
  x = S::Max(S::Set1(-104.0f), x);
  const F n = S::Round(S::Mul(x, S::Set1(1.44269504088896341f)));
  F r = S::Fma(n, S::Set1(-0.693359375f), x);
  r = S::Fma(n, S::Set1(2.12194440e-4f), r);
  F p = S::Set1(1.9875691500e-4f);
  p = S::Fma(p, r, S::Set1(1.3981999507e-3f));
  p = S::Fma(p, r, S::Set1(8.3334519073e-3f));
  p = S::Fma(p, r, S::Set1(4.1665795894e-2f));
  p = S::Fma(p, r, S::Set1(1.6666665459e-1f));
  p = S::Fma(p, r, S::Set1(5.0000001201e-1f));
  p = S::Fma(S::Mul(r, r), p, r);
  return S::ScalePow2(S::Add(p, S::Set1(1.0f)), n);
}

// x / (1 + e^-x)
template <typename S>
SWITCHYARD_INLINE typename S::F Silu(typename S::F x) {
  return S::Div(x, S::Add(S::Set1(1.0f), Exp<S>(S::Sub(S::Zero(), x))));
}

}  // namespace switchyard::kernels
