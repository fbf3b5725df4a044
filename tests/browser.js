// Measures of a page for tests/browser.py, in a world of its own: nothing here is seen by the page.

function openAll() { for (const one of document.querySelectorAll("details")) one.open = true; }

function rgba(text) {  // "rgb(1, 2, 3)", "rgba(1, 2, 3, 0.5)", "color(srgb 0 0.5 1 / 0.5)"
  const numbers = (text.match(/[\d.]+(e-?\d+)?/g) || []).map(Number);
  if (text.startsWith("color(srgb")) return [...numbers.slice(0, 3).map(x => 255 * x), numbers[3] ?? 1];
  return text.startsWith("rgb") ? [...numbers.slice(0, 3), numbers[3] ?? 1] : [0, 0, 0, 0];
}

function over(top, below) { return [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3])).concat(1); }

// As WCAG 2.2 defines it: https://www.w3.org/TR/WCAG22/#dfn-relative-luminance
function luminance(colour) {
  const [r, g, b] = colour.slice(0, 3).map(x => x / 255).map(x => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(a, b) {
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
}

function paper() {  // what the window is filled with; Chromium's own is white, or nearly black where the page allows dark
  const dark = matchMedia("(prefers-color-scheme: dark)").matches
    && getComputedStyle(document.documentElement).colorScheme.includes("dark");
  let colour = dark ? [18, 18, 18, 1] : [255, 255, 255, 1];
  for (const one of [document.documentElement, document.body]) colour = over(rgba(getComputedStyle(one).backgroundColor), colour);
  return colour;
}

function behind(element) {
  const stack = [];
  for (let one = element; one && one !== document.body; one = one.parentElement) stack.push(rgba(getComputedStyle(one).backgroundColor));
  return stack.reverse().reduce((below, top) => over(top, below), paper());
}

function scale(element) {  // text of an SVG grows and shrinks with the picture
  if (!element.getScreenCTM) return 1;
  const matrix = element.getScreenCTM();
  return matrix ? Math.sqrt(Math.abs(matrix.a * matrix.d - matrix.b * matrix.c)) : 1;
}

// wider: how many pixels the page is wider than its window, and by what; smallest: the smallest text in pixels as it is
// shown; faintest: the least contrast of a text with what is behind it, and which; paper: luminance of the page, 0 to 1;
// clipped: texts of pictures that reach out of them; same: ids that are there twice.
function look() {
  const found = { wider: document.scrollingElement.scrollWidth - innerWidth, widest: "", smallest: 1e9, small: "",
    faintest: 1e9, faint: "", paper: luminance(paper()), clipped: [], same: [], texts: 0 };
  let right = innerWidth;
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), cache = new Map();
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    const element = node.parentElement, words = node.data.trim();
    if (!words || element.closest("title, desc, style, script")) continue;
    if (!element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    found.texts += 1;
    const box = element.getBoundingClientRect(), style = getComputedStyle(element), svg = element.closest("svg");
    const size = parseFloat(style.fontSize) * scale(element);
    if (size < found.smallest) [found.smallest, found.small] = [size, words.slice(0, 60)];
    const key = `${style.color} ${style.fill} ${style.opacity} ${svg ? "svg" : ""} ${style.backgroundColor}`;
    if (!cache.has(key)) cache.set(key, new Map());
    const home = svg ? svg.parentElement : element, known = cache.get(key);
    if (!known.has(home)) {
      const below = behind(home), ink = rgba(svg ? style.fill : style.color);
      known.set(home, contrast(over([...ink.slice(0, 3), ink[3] * parseFloat(style.opacity)], below), below));
    }
    if (known.get(home) < found.faintest) [found.faintest, found.faint] = [known.get(home), words.slice(0, 60)];
    if (svg) {
      const frame = svg.getBoundingClientRect();
      if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 || box.bottom > frame.bottom + 1)
        found.clipped.push(words.slice(0, 60));
    }
    if (box.right > right && found.wider > 0) [right, found.widest] = [box.right, words.slice(0, 60)];
  }
  const ids = new Set();
  for (const one of document.querySelectorAll("[id]")) { if (ids.has(one.id)) found.same.push(one.id); ids.add(one.id); }
  return found;
}
