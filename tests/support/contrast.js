// Every text that is shown, with its contrast (WCAG 2.2) to what is painted behind it.
(() => {
  const parse = (text) => {
    const [red, green, blue, alpha = 1] = text.match(/[\d.]+/g).map(Number);
    return [red, green, blue, alpha];
  };
  const over = (upper, lower) => [0, 1, 2].map((i) => upper[i] * upper[3] + lower[i] * (1 - upper[3])).concat(1);
  const linear = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const light = (colour) => {
    const [red, green, blue] = colour.map((value) => linear(value / 255));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const behind = (element) => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.push(parse(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((lower, upper) => over(upper, lower), [255, 255, 255, 1]);
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.data.trim();
    const e = walker.currentNode.parentElement;
    const box = e.getBoundingClientRect();
    if (!text || !box.width || !box.height || ["SCRIPT", "title", "desc"].includes(e.tagName)) continue;
    const style = getComputedStyle(e);
    const drawn = e instanceof SVGElement;
    const under = e.matches(".in-phase")
      ? parse(getComputedStyle(e.previousElementSibling).fill) // a word on its bar
      : behind(drawn ? e.ownerSVGElement.parentElement : e);
    const [a, b] = [light(over(parse(drawn ? style.fill : style.color), under)), light(under)];
    found.push({ text: text.slice(0, 40), contrast: (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) });
  }
  return found;
})();
