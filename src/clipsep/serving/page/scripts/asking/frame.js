// Picks a part of a paused video's frame: by dragging, or with the arrow keys.

const SMALLEST = 0.03; // of the frame's width or height
const STEP = 0.03;

export function frameBox(video, area, box, onPick) {
  let rectangle = { x: 0.25, y: 0.25, w: 0.5, h: 0.5 }; // shares of the frame
  let start = null;

  // The video may have black bars: the frame itself, in pixels of the area.
  function frame() {
    const width = area.clientWidth, height = area.clientHeight;
    const scale = Math.min(width / video.videoWidth, height / video.videoHeight);
    const w = video.videoWidth * scale, h = video.videoHeight * scale;
    return { x: (width - w) / 2, y: (height - h) / 2, w, h };
  }

  function draw() {
    const inside = frame();
    box.style.left = `${inside.x + rectangle.x * inside.w}px`;
    box.style.top = `${inside.y + rectangle.y * inside.h}px`;
    box.style.width = `${rectangle.w * inside.w}px`;
    box.style.height = `${rectangle.h * inside.h}px`;
  }

  function point(event) {
    const inside = frame(), bounds = area.getBoundingClientRect();
    const clamp = (value) => Math.min(1, Math.max(0, value));
    return {
      x: clamp((event.clientX - bounds.left - inside.x) / inside.w),
      y: clamp((event.clientY - bounds.top - inside.y) / inside.h),
    };
  }

  area.addEventListener("pointerdown", (event) => {
    start = point(event);
    area.setPointerCapture(event.pointerId);
    event.preventDefault();
    area.focus();
  });
  area.addEventListener("pointermove", (event) => {
    if (!start) return;
    const end = point(event);
    rectangle = {
      x: Math.min(start.x, end.x), y: Math.min(start.y, end.y),
      w: Math.abs(end.x - start.x), h: Math.abs(end.y - start.y),
    };
    draw();
  });
  area.addEventListener("pointerup", () => {
    start = null;
    if (rectangle.w < SMALLEST || rectangle.h < SMALLEST) rectangle = { x: 0, y: 0, w: 1, h: 1 };
    draw();
  });
  area.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key];
    if (event.key === "Enter") onPick();
    else if (move && event.shiftKey) {
      rectangle.w = Math.min(1 - rectangle.x, Math.max(SMALLEST, rectangle.w + move[0]));
      rectangle.h = Math.min(1 - rectangle.y, Math.max(SMALLEST, rectangle.h + move[1]));
    } else if (move) {
      rectangle.x = Math.min(1 - rectangle.w, Math.max(0, rectangle.x + move[0]));
      rectangle.y = Math.min(1 - rectangle.h, Math.max(0, rectangle.y + move[1]));
    } else return;
    event.preventDefault();
    draw();
  });
  new ResizeObserver(draw).observe(area);

  return {
    draw,
    // The pixels in the box as a PNG file; the server sees no more of the video than that.
    async image() {
      const canvas = document.createElement("canvas");
      const width = rectangle.w * video.videoWidth, height = rectangle.h * video.videoHeight;
      const scale = Math.min(1, 640 / Math.max(width, height));
      canvas.width = Math.max(1, Math.round(width * scale));
      canvas.height = Math.max(1, Math.round(height * scale));
      canvas.getContext("2d").drawImage(
        video, rectangle.x * video.videoWidth, rectangle.y * video.videoHeight, width, height,
        0, 0, canvas.width, canvas.height);
      const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
      return new File([blob], "frame.png", { type: "image/png" });
    },
  };
}
