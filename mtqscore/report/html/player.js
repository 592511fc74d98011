"use strict";
// A recording heard and seen: sound, spectrogram and curves on one time axis. Built when it is opened.
(() => {
  const SCORES = [["s_mos", "S"], ["n_mos", "N"], ["g_mos", "G"]];
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)");
  let playing = null; // one recording sounds at a time

  const make = (tag, classes, text) => {
    const element = document.createElement(tag);
    if (classes) element.className = classes;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const draw = (tag, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };
  const clock = (seconds) => {
    const tenths = Math.round(seconds * 10);
    const rest = `${String(Math.floor(tenths / 10) % 60).padStart(2, "0")}.${tenths % 10}`;
    const minutes = Math.floor(tenths / 600);
    return minutes < 60 ? `${minutes}:${rest}`
      : `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
  };
  const wavHead = (samples, rate) => {
    const head = new DataView(new ArrayBuffer(44));
    const words = [[0, "RIFF"], [8, "WAVE"], [12, "fmt "], [36, "data"]];
    for (const [at, word] of words) [...word].forEach((char, index) => head.setUint8(at + index, char.charCodeAt(0)));
    const longs = [[4, 36 + 4 * samples], [16, 16], [24, rate], [28, 4 * rate], [40, 4 * samples]];
    for (const [at, value] of longs) head.setUint32(at, value, true);
    const shorts = [[20, 3], [22, 1], [32, 4], [34, 32]]; // floating point, one channel, four bytes a sample
    for (const [at, value] of shorts) head.setUint16(at, value, true);
    return head;
  };
  // Browsers seek in WAV to the sample; near the end of a short FLAC file Chromium cannot seek at all.
  const soundUrl = async ({ audio, rate }) => {
    const flac = new Blob([Uint8Array.from(atob(audio), (char) => char.charCodeAt(0))], { type: "audio/flac" });
    try {
      const decoder = new OfflineAudioContext(1, 1, rate); // at its own rate, nothing is resampled
      const samples = (await decoder.decodeAudioData(await flac.arrayBuffer())).getChannelData(0);
      return URL.createObjectURL(new Blob([wavHead(samples.length, rate), samples], { type: "audio/wav" }));
    } catch {
      return URL.createObjectURL(flac);
    }
  };

  // Scores at a time of the recording, as "3.21"; a dash in gaps.
  const scoresAt = (data, time) => {
    const index = Math.round((time - data.first) / data.hop);
    return SCORES.filter(([key]) => data.curves[key]).map(([key, letter]) => {
      const column = data.curves[key];
      const value = column[Math.min(Math.max(index, 0), column.length - 1)];
      return { key, letter, text: value == null ? "–" : (value / 100).toFixed(2) };
    });
  };

  const timeAxis = (data, width) => {
    const axis = make("div", "axis");
    axis.setAttribute("aria-hidden", "true");
    const end = data.start + data.length;
    const most = Math.max(2, width / 90);
    const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600].find((size) => data.length / size <= most) || 1800;
    for (let tick = Math.ceil(data.start / step - 1e-6) * step; tick <= end + 1e-6; tick += step) {
      const share = (tick - data.start) / data.length;
      const label = make("span", share < 0.03 ? "first" : share > 0.97 ? "last" : "", clock(tick));
      label.style.left = `${share * 100}%`;
      axis.append(label);
    }
    return axis;
  };

  const gutter = (labels) => {
    const element = make("div", "gutter");
    element.setAttribute("aria-hidden", "true");
    for (const [share, text, classes] of labels) {
      const label = make("span", classes, text);
      label.style.top = `${share * 100}%`;
      element.append(label);
    }
    return element;
  };

  const spectrogram = (data, stage) => {
    const step = data.top > 8000 ? 4000 : data.top > 4000 ? 2000 : 1000;
    const labels = [];
    for (let tick = 0; tick <= data.top; tick += step) {
      const share = 1 - tick / data.top;
      labels.push([share, tick ? `${tick / 1000} kHz` : "0", share < 0.03 ? "top" : share > 0.97 ? "bottom" : ""]);
    }
    const image = make("img");
    image.alt = `Spectrogram, 0 to ${data.top / 1000} kHz, 80 dB from dark to light`;
    image.src = `data:image/png;base64,${data.image}`;
    stage.append(gutter(labels), image, make("div"));
  };

  const curves = (data, stage) => {
    const level = (value) => (1 - (value / 100 - 1) / 4) * 100;
    const svg = draw("svg", { viewBox: "0 0 1000 100", preserveAspectRatio: "none", role: "img" });
    svg.setAttribute("aria-label", "S-MOS dashed, N-MOS dotted, G-MOS solid, along time, from 1 to 5");
    for (let score = 1; score <= 5; score += 1) {
      svg.append(draw("line", { x1: 0, x2: 1000, y1: level(score * 100), y2: level(score * 100) }));
    }
    const ends = [];
    for (const [key, letter] of SCORES) {
      const column = data.curves[key] || [];
      let path = "";
      let down = false; // a gap lifts the pen
      column.forEach((value, index) => {
        if (value != null) {
          const x = ((data.first + index * data.hop - data.start) / data.length) * 1000;
          path += `${down ? "L" : "M"}${x.toFixed(1)} ${level(value).toFixed(1)}`;
        }
        down = value != null;
      });
      if (!path) continue;
      svg.append(draw("path", { d: path, class: key }));
      ends.push([level(column.findLast((value) => value != null)) / 100, letter, key]);
    }
    // Letters at the ends of the curves, apart enough to be read.
    ends.sort((one, other) => one[0] - other[0]);
    for (let index = 1; index < ends.length; index += 1) ends[index][0] = Math.max(ends[index][0], ends[index - 1][0] + 0.12);
    const over = ends.length ? Math.max(0, ends[ends.length - 1][0] - 0.98) : 0;
    for (const end of ends) end[0] -= over;
    const scale = [[0, "5", "top"], [0.25, "4"], [0.5, "3"], [0.75, "2"], [1, "1", "bottom"]];
    const right = gutter(ends);
    right.classList.add("ends");
    stage.append(gutter(scale), svg, right);
  };

  class Player {
    constructor(recording) {
      const data = JSON.parse(recording.querySelector("script").textContent);
      this.data = data;
      this.name = recording.querySelector("bdi").textContent;
      this.end = data.start + data.length;
      this.position = data.start;
      this.readout = make("div", "readout");
      this.slider = make("div", "slider");
      this.head = make("div", "head");
      this.hair = make("div", "hair");
      this.hair.hidden = true;
      const controls = make("div", "controls");
      this.place = recording.querySelector(".player");
      this.place.append(controls);
      if (data.audio) controls.append(...this.makeSound());
      if (data.worst !== null) controls.append(this.makeWorst());
      if (!data.image && !Object.keys(data.curves).length) return;
      controls.append(this.readout);
      this.makeStage();
      this.show();
    }

    makeSound() {
      const audio = make("audio");
      const button = make("button", "play", "Play");
      this.audio = audio;
      audio.preload = "auto";
      soundUrl(this.data).then((url) => {
        if (audio.isConnected) audio.src = url;
        else URL.revokeObjectURL(url);
      });
      delete this.data.audio; // one copy is enough
      audio.addEventListener("play", () => {
        if (playing && playing !== audio) playing.pause();
        playing = audio;
        button.textContent = "Pause";
        this.follow();
      });
      audio.addEventListener("pause", () => { button.textContent = "Play"; });
      audio.addEventListener("timeupdate", () => this.follow());
      audio.addEventListener("error", () => {
        button.disabled = true;
        button.textContent = "This browser cannot play the sound";
      });
      button.type = "button";
      button.addEventListener("click", () => this.toggle());
      return [button, audio];
    }

    close() {
      if (this.audio) {
        this.audio.pause();
        URL.revokeObjectURL(this.audio.src);
      }
      this.place.replaceChildren();
    }

    makeWorst() {
      const [start, end] = this.data.worst;
      const button = make("button", "", `Worst second, ${clock(start)}`);
      button.type = "button";
      button.title = this.audio ? "Play from half a second before it" : "Go there";
      button.addEventListener("click", () => {
        this.seek(start - (this.audio ? 0.5 : 0));
        if (this.audio && this.audio.paused) this.toggle();
      });
      const band = make("div", "band");
      this.put(band, start);
      band.style.width = `${((end - start) / this.data.length) * 100}%`;
      this.slider.append(band);
      return button;
    }

    makeStage() {
      const { data, slider } = this;
      const stage = make("div", "stage");
      this.place.append(stage);
      if (data.image) spectrogram(data, stage);
      if (Object.keys(data.curves).length) curves(data, stage);
      slider.tabIndex = 0;
      slider.setAttribute("role", "slider");
      slider.setAttribute("aria-label", `Position in ${this.name}, in seconds`);
      slider.setAttribute("aria-valuemin", data.start.toFixed(1));
      slider.setAttribute("aria-valuemax", this.end.toFixed(1));
      slider.append(this.hair, this.head);
      stage.append(slider, timeAxis(data, stage.clientWidth));
      slider.addEventListener("pointerdown", (event) => {
        if (event.button) return;
        slider.setPointerCapture(event.pointerId);
        this.seek(this.timeOf(event));
      });
      slider.addEventListener("pointermove", (event) => this.point(event));
      slider.addEventListener("pointerleave", () => {
        this.hair.hidden = true;
        this.show();
      });
      slider.addEventListener("keydown", (event) => this.press(event));
    }

    timeOf(event) {
      const box = this.slider.getBoundingClientRect();
      const share = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
      return this.data.start + share * this.data.length;
    }

    point(event) {
      const time = this.timeOf(event);
      if (this.slider.hasPointerCapture(event.pointerId)) this.seek(time);
      this.hair.hidden = event.pointerType === "touch";
      this.put(this.hair, time);
      this.tell(time);
    }

    press(event) {
      const { position, end, data } = this;
      const step = event.shiftKey ? 0.1 : 0.5;
      const moves = {
        ArrowLeft: position - step, ArrowDown: position - step, ArrowRight: position + step, ArrowUp: position + step,
        PageDown: position - 5, PageUp: position + 5, Home: data.start, End: end,
      };
      if (event.key in moves) this.seek(moves[event.key]);
      else if (event.key === " " || event.key === "Enter") this.toggle();
      else return;
      event.preventDefault();
    }

    toggle() {
      if (!this.audio) return;
      if (this.audio.paused) this.audio.play().catch(() => {});
      else this.audio.pause();
    }

    seek(time) {
      this.position = Math.min(Math.max(time, this.data.start), this.end);
      if (this.audio) this.audio.currentTime = this.position - this.data.start;
      this.show();
    }

    follow() {
      this.position = Math.min(this.data.start + this.audio.currentTime, this.end);
      this.show();
      if (this.audio.paused || calm.matches) return; // then it moves with each timeupdate
      cancelAnimationFrame(this.frame);
      this.frame = requestAnimationFrame(() => this.follow());
    }

    put(element, time) {
      element.style.left = `${((time - this.data.start) / this.data.length) * 100}%`;
    }

    tell(time) {
      const words = scoresAt(this.data, time).map(({ key, letter, text }) => make("span", key, `${letter} ${text}`));
      this.readout.replaceChildren(make("span", "", clock(time)), ...words);
    }

    show() {
      this.put(this.head, this.position);
      const scores = scoresAt(this.data, this.position).map(({ letter, text }) => `${letter}-MOS ${text}`);
      this.slider.setAttribute("aria-valuenow", this.position.toFixed(1));
      this.slider.setAttribute("aria-valuetext", [clock(this.position), ...scores].join(", "));
      if (this.hair.hidden) this.tell(this.position);
    }
  }

  for (const recording of document.querySelectorAll("details.recording")) {
    let player = null; // closed, it leaves no sound in memory
    recording.addEventListener("toggle", () => {
      if (player) player.close();
      player = recording.open ? new Player(recording) : null;
    });
  }
  // A link to a recording opens it, wherever it was followed.
  const arrive = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target || !target.matches("details.recording")) return;
    target.open = true;
    target.querySelector("summary").focus();
    target.scrollIntoView();
  };
  window.addEventListener("hashchange", arrive);
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#listen-']");
    if (link && link.hash === location.hash) arrive(); // the same link again changes no hash
  });
  arrive();
})();
