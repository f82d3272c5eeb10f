#include "trainer/compare/svg.h"

#include <algorithm>
#include <cmath>

namespace switchyard::trainer {

std::string XmlEscaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
  }
  return out;
}

void SvgCanvas::Rect(double x, double y, double width, double height, std::string_view fill, std::string_view tip) {
  absl::StrAppendFormat(&body_, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\"", x, y, width, height, fill);
  if (tip.empty()) {
    body_ += "/>\n";
  } else {
    absl::StrAppendFormat(&body_, "><title>%s</title></rect>\n", XmlEscaped(tip));
  }
}

void SvgCanvas::Line(double x1, double y1, double x2, double y2, std::string_view stroke, double width) {
  absl::StrAppendFormat(&body_, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\" stroke-width=\"%.1f\"/>\n", x1, y1, x2,
                        y2, stroke, width);
}

void SvgCanvas::Text(double x, double y, std::string_view text, const TextStyle& style) {
  absl::StrAppendFormat(&body_, "<text x=\"%.1f\" y=\"%.1f\" font-size=\"%.1f\" text-anchor=\"%s\" fill=\"%s\"", x, y, style.size,
                        style.anchor, style.fill);
  if (style.bold) body_ += " font-weight=\"bold\"";
  if (style.rotate != 0) absl::StrAppendFormat(&body_, " transform=\"rotate(%.0f %.1f %.1f)\"", style.rotate, x, y);
  absl::StrAppendFormat(&body_, ">%s</text>\n", XmlEscaped(text));
}

std::string SvgCanvas::Document(std::string_view title) const {
  return absl::StrFormat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" viewBox=\"0 0 %.0f %.0f\" font-family=\"Helvetica, Arial, "
      "sans-serif\" "
      "role=\"img\">\n<title>%s</title>\n<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n%s</svg>\n",
      width_, height_, width_, height_, XmlEscaped(title), body_);
}

double TextWidth(std::string_view text, double size) {
  const auto characters = std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
  return 0.56 * size * static_cast<double>(characters);
}

std::string HeatColour(double share) {
  const double t = std::clamp(share, 0.0, 1.0);
  const auto mix = [&](double from, double to) { return static_cast<int>(std::lround(from + (to - from) * t)); };
  return absl::StrFormat("#%02x%02x%02x", mix(247, 8), mix(251, 48), mix(255, 107));
}

std::string_view InkOn(double share) { return share > 0.5 ? "#ffffff" : "#222222"; }

}  // namespace switchyard::trainer
