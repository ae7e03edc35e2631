// What both drawings share: sizes, colours, texts that fit, the note beside the pointer.

const paint = (() => {
    const isDark = matchMedia("(prefers-color-scheme: dark)");
    const redraws = [];
    let colours = readColours();

    function readColours() {
        const style = getComputedStyle(document.documentElement);
        const of = (name) => style.getPropertyValue(`--${name}`).trim();
        return {
            ink: of("ink"), muted: of("muted"), line: of("line"), surface: of("surface"), empty: of("empty"),
            offline: of("offline"), locked: of("locked"), accent: of("accent"), several: of("several"),
            pending: of("pending"),
        };
    }

    function redraw() {
        colours = readColours();
        for (const draw of redraws) draw();
    }
    isDark.addEventListener("change", redraw);
    addEventListener("resize", redraw);

    /** The canvas at its size on the screen, empty, to be drawn on in CSS pixels. */
    function prepare(canvas) {
        const ratio = devicePixelRatio || 1;
        const width = Math.max(1, Math.floor(canvas.clientWidth));
        const height = Math.max(1, Math.floor(canvas.clientHeight));
        canvas.width = Math.round(width * ratio);
        canvas.height = Math.round(height * ratio);
        const context = canvas.getContext("2d");
        context.setTransform(ratio, 0, 0, ratio, 0, 0);
        context.textBaseline = "middle";
        return { context, width, height };
    }

    /** A colour for a shard: hues far apart for neighbours, alike in lightness. */
    function shardColour(shard) {
        const hue = (250 + shard * 137.508) % 360;
        const step = (Math.floor(shard / 5) % 3) * 0.035;
        return isDark.matches ? `oklch(${0.43 + step} 0.085 ${hue})` : `oklch(${0.85 - step} 0.075 ${hue})`;
    }

    /** The same hue for what is thin. */
    const lineColour = (shard) => shardColour(shard).replace(/\(\S+ \S+/, isDark.matches ? "(0.74 0.13" : "(0.6 0.15");

    /** Stripes over what is offline. */
    function hatch(context) {
        const size = 8;
        const tile = document.createElement("canvas");
        tile.width = tile.height = size;
        const on = tile.getContext("2d");
        on.strokeStyle = colours.offline;
        on.lineWidth = 1.6;
        for (const shift of [-size, 0, size]) {
            on.beginPath();
            on.moveTo(shift - 1, size + 1);
            on.lineTo(shift + size + 1, -1);
            on.stroke();
        }
        return context.createPattern(tile, "repeat");
    }

    /** The longest form of a text that fits: whole, or with its middle left out; empty if not even that is of use. */
    function fitted(context, text, width) {
        if (context.measureText(text).width <= width) return text;
        const letters = Array.from(text);
        let [least, most] = [0, letters.length];
        function cut(kept) {
            const begin = kept >> 1;
            return `${letters.slice(0, begin).join("")}\u2026${letters.slice(letters.length - kept + begin).join("")}`;
        }
        while (least < most) {
            const middle = (least + most + 1) >> 1;
            if (context.measureText(cut(middle)).width <= width) least = middle;
            else most = middle - 1;
        }
        return least >= 4 ? cut(least) : "";
    }

    /** A shard's name, or its last part, or the end of that: where numbers usually stand. */
    function fittedName(context, shard, width) {
        const name = shortName(shard);
        const last = lastTells ? lastPart(name) : name;
        for (const text of [name, last]) if (text && context.measureText(text).width <= width) return text;
        const letters = Array.from(last || name);
        while (letters.length > 2) {
            letters.shift();
            const text = "\u2026" + letters.join("");
            if (context.measureText(text).width <= width) return text;
        }
        return "";
    }

    /** A padlock, its middle at the given place. */
    function padlock(context, x, y, colour) {
        context.strokeStyle = context.fillStyle = colour;
        context.lineWidth = 1.4;
        context.beginPath();
        context.arc(x, y - 1.5, 2.4, Math.PI, 0);
        context.lineTo(x + 2.4, y);
        context.moveTo(x - 2.4, y);
        context.lineTo(x - 2.4, y - 1.5);
        context.stroke();
        context.beginPath();
        context.roundRect(x - 4, y - 0.5, 8, 6, 1.2);
        context.fill();
    }

    const note = document.getElementById("note");
    function showNote(event, lines) {
        note.replaceChildren(
            ...lines.map((line) => {
                const row = document.createElement("div");
                row.textContent = line;
                return row;
            }),
        );
        note.hidden = false;
        const [width, height] = [note.offsetWidth, note.offsetHeight];
        const left = Math.min(event.clientX + 14, document.documentElement.clientWidth - width - 8);
        const below = event.clientY + 18;
        note.style.left = `${Math.max(8, left)}px`;
        note.style.top = `${below + height > innerHeight ? event.clientY - height - 12 : below}px`;
    }
    const hideNote = () => {
        note.hidden = true;
    };

    /** What all shard names begin with, up to a separator: it tells none from another. */
    const names = map.shards.map((shard) => map.visible(shard.location));
    let common = names.length > 1 ? names[0].length : 0;
    for (const name of names) while (!name.startsWith(names[0].slice(0, common))) common--;
    while (common > 0 && !/[\/\\ ,;=]/.test(names[0][common - 1])) common--;
    const lastPart = (name) => name.split(/[\/\\]/).pop();
    const lastTells = new Set(names.map(lastPart)).size === names.length;
    const shortName = (shard) => names[shard].slice(common) || names[shard];

    return {
        colours: () => colours, onRedraw: (draw) => redraws.push(draw), redraw, prepare, shardColour, lineColour, hatch, fitted, fittedName, padlock,
        showNote, hideNote, shortName,
        font: (size, weight = 400) => `${weight} ${size}px ${getComputedStyle(document.body).fontFamily}`,
    };
})();

/** What is picked: a mapping, a shard, the key that was looked for. Whoever draws listens. */
const picked = (() => {
    const listeners = [];
    const state = { mapping: -1, shard: -1, key: null };
    return {
        state,
        listen: (listener) => listeners.push(listener),
        set(changes) {
            Object.assign(state, changes);
            for (const listener of listeners) listener(Object.keys(changes));
        },
    };
})();
