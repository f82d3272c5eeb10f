// A small writer of SVG: shapes on a canvas, in user units, no scripts, no fonts but what the reader has.
#pragma once

#include <string>
#include <string_view>

#include "engine/base/status.h"

namespace switchyard::trainer {

// &, <, >, quotes as entities; control characters, which XML forbids, as blanks.
std::string XmlEscaped(std::string_view text);

struct TextStyle {
  double size = 12;
  std::string_view anchor = "start";  // start, middle, end
  std::string_view fill = "#222222";
  bool bold = false;
  double rotate = 0;  // degrees, around the text's own point
};

// Not thread-safe.
class SvgCanvas {
 public:
  SvgCanvas(double width, double height) : width_(width), height_(height) {}
  // `tip`: what a pointer resting there is told; may be empty.
  void Rect(double x, double y, double width, double height, std::string_view fill, std::string_view tip = "");
  void Line(double x1, double y1, double x2, double y2, std::string_view stroke, double width = 1);
  void Text(double x, double y, std::string_view text, const TextStyle& style = {});
  // A whole document on a white ground; `title` is for those who cannot see it.
  std::string Document(std::string_view title) const;

 private:
  double width_, height_;
  std::string body_;
};

// About how wide a text of this size is in a common sans-serif font.
double TextWidth(std::string_view text, double size);

// White to dark blue for 0 to 1, clamped; "#rrggbb".
std::string HeatColour(double share);
// A text colour that can be read on it.
std::string_view InkOn(double share);

}  // namespace switchyard::trainer
