// The pixels of an image that are wiped away: which ones, in the server's notation, and hatched on the paper.

const ERASER = 1 / 14; // its radius, of the image's longer side
const SMALLEST = 0.6; // pixels: one pixel at least

export class Wipe {
  constructor([channels, height, width], paper) {
    this.height = height;
    this.width = width;
    this.paper = paper;
    this.context = paper.getContext("2d");
    this.views = channels === 2 ? 2 : 1; // a stereo pair comes side by side; the paper shows the first image
    this.cell = paper.width / Math.max(height, width); // of the canvas, as are left and top
    this.left = (paper.width - width * this.cell) / 2;
    this.top = (paper.height - height * this.cell) / 2;
    this.clear();
  }

  clear() {
    this.missing = new Uint8Array(this.height * this.width);
    this.history = [];
  }

  get some() {
    return this.missing.includes(1);
  }

  // Remembers the missing pixels, for undo.
  keep() {
    this.history.push(this.missing.slice());
  }

  undo() {
    this.missing = this.history.pop() ?? this.missing;
  }

  half(name) {
    const inside = {
      left: (row, column) => 2 * column + 1 < this.width,
      right: (row, column) => 2 * column + 1 > this.width,
      top: (row) => 2 * row + 1 < this.height,
      bottom: (row) => 2 * row + 1 > this.height,
      none: () => false,
    }[name];
    this.keep();
    this.missing = this.missing.map((_, place) => inside(Math.floor(place / this.width), place % this.width));
  }

  // Wipes along a line between two points of the paper, in units of its side.
  line(start, end) {
    const [[x, y], [endX, endY]] = [start, end].map(([across, down]) => [
      (across * this.paper.width - this.left) / this.cell, (down * this.paper.height - this.top) / this.cell,
    ]);
    const [dx, dy] = [endX - x, endY - y];
    const radius = Math.max(SMALLEST, ERASER * Math.max(this.height, this.width));
    for (const place of this.missing.keys()) {
      const [toX, toY] = [(place % this.width) + 0.5 - x, Math.floor(place / this.width) + 0.5 - y];
      // The nearest point of the line.
      const share = Math.min(1, Math.max(0, (toX * dx + toY * dy) / (dx * dx + dy * dy || 1)));
      if (Math.hypot(toX - share * dx, toY - share * dy) <= radius) this.missing[place] = 1;
    }
  }

  // A bit for each pixel, row by row, in hexadecimal digits.
  get digits() {
    const bits = [...this.missing, 0, 0, 0];
    let digits = "";
    for (let place = 0; place < this.missing.length; place += 4) {
      digits += parseInt(bits.slice(place, place + 4).join(""), 2).toString(16);
    }
    return digits;
  }

  // Draws an image as the model sees it, pixel by pixel, with missing pixels hatched.
  draw(image) {
    const { context, cell, left, top } = this;
    context.imageSmoothingEnabled = false;
    const shown = image.naturalWidth / this.views;
    context.drawImage(image, 0, 0, shown, image.naturalHeight, left, top, this.width * cell, this.height * cell);
    context.beginPath();
    for (const [place, missing] of this.missing.entries()) {
      if (!missing) continue;
      const [row, column] = [Math.floor(place / this.width), place % this.width];
      // Whole pixels of the canvas, so that neighbours leave no seam.
      const [x, y] = [Math.round(left + column * cell), Math.round(top + row * cell)];
      context.rect(x, y, Math.round(left + (column + 1) * cell) - x, Math.round(top + (row + 1) * cell) - y);
    }
    context.save();
    context.fillStyle = hatching(context);
    context.fill();
    context.restore();
  }
}

// The same stripes as style.css has behind transparent pixels.
function hatching(context) {
  const style = getComputedStyle(document.documentElement);
  const tile = document.createElement("canvas");
  tile.width = tile.height = 20;
  const stripes = tile.getContext("2d");
  stripes.fillStyle = style.getPropertyValue("--missing");
  stripes.fillRect(0, 0, 20, 20);
  stripes.strokeStyle = style.getPropertyValue("--missing-stripe");
  stripes.lineWidth = 4;
  for (const shift of [-20, 0, 20]) {
    stripes.moveTo(shift - 5, 25);
    stripes.lineTo(shift + 25, -5);
  }
  stripes.stroke();
  return context.createPattern(tile, "repeat");
}
