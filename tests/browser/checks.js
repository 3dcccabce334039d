// Run in the page by test_screens.py: an object of functions.
({
  // text whose contrast with what lies behind it is below WCAG AA, with the ratio
  faint() {
    const parse = (text) => (text.match(/[\d.]+/g) || []).map(Number);
    const linear = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    const luminance = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
    const behind = (element) => {
      for (let at = element; at; at = at.parentElement) {
        const { backgroundColor } = getComputedStyle(at);
        const colour = backgroundColor.startsWith("color(") ? [] : parse(backgroundColor);
        if (colour.length && (colour[3] ?? 1) > 0.95) return colour;
      }
      return [255, 255, 255];
    };
    const found = [];
    for (const element of document.querySelectorAll("body *")) {
      const text = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.textContent.trim());
      const shown = element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
      if (!text || !shown || element.closest(":disabled, .visually-hidden, .skip")) continue;
      const { color, fontSize, fontWeight } = getComputedStyle(element);
      const [one, other] = [luminance(parse(color)), luminance(behind(element))];
      const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
      const large = parseFloat(fontSize) >= 24 || (parseFloat(fontSize) >= 18.6 && fontWeight >= 700);
      if (ratio < (large ? 3 : 4.5)) found.push(`${element.tagName}.${element.className}: ${element.textContent.slice(0, 30)} ${ratio.toFixed(2)}`);
    }
    return found;
  },

  // what can be used or seen but has no name for those who listen
  nameless() {
    const named = (each) =>
      each.tagName === "IMG" ? each.hasAttribute("alt") : each.getAttribute("aria-label") || each.textContent.trim() || each.labels?.length || each.title;
    return [...document.querySelectorAll("button, a, input, textarea, summary, img, [role=img]")]
      .filter((each) => each.checkVisibility() && !each.closest("[aria-hidden=true]") && !named(each))
      .map((each) => each.outerHTML.slice(0, 120));
  },

  // how much wider than the window the page is, pixels
  wider: () => document.documentElement.scrollWidth - innerWidth,
});
