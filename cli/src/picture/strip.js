// The strip: all mappings along the key space, to be zoomed into.

const strip = (() => {
    const canvas = document.getElementById("strip");
    const choice = document.getElementById("scale");
    const position = document.getElementById("position");
    const hint = document.getElementById("strip-hint");
    const several = document.getElementById("legend-several");
    const [BAND_TOP, BAND_HEIGHT, TRACK, NOTCH] = [24, 72, 4, 8];
    const AXIS_TOP = BAND_TOP + BAND_HEIGHT + 2 * TRACK + 6;

    const axes = {};
    function axisNamed(name) {
        axes[name] ??= name === "equal" ? map.equal() : map.proportional();
        return axes[name];
    }
    let axis = axisNamed("proportional");
    if (map.isCrowded(axis)) axis = axisNamed("equal");
    choice.value = axis.name;
    // The part that is seen: from `from` on, `span` long.
    let [from, span] = [0n, axis.total];
    let width = 1;
    /** The part that is being marked with the pointer, in pixels. */
    let marked = null;

    const xOf = (at) => Math.max(-20, Math.min(width + 20, (Number(at - from) / Number(span)) * width));
    const atX = (x) => from + (span * BigInt(Math.round((x / width) * 65_536))) / 65_536n;
    /** The mappings that reach into a part of the axis: the first, and the first after them. */
    function within(begin, end) {
        const first = map.firstWhere((i) => (axis.points ? axis.start[i] >= begin : axis.end[i] > begin));
        return [first, Math.max(first, map.firstWhere((i) => axis.start[i] >= end))];
    }

    function draw() {
        const prepared = paint.prepare(canvas);
        const context = prepared.context;
        width = prepared.width;
        const [first, after] = within(from, from + span);
        const many = after - first > width / 3;
        drawGround(context);
        if (axis.points) many ? drawDensity(context) : drawPoints(context, first, after);
        else many ? drawColumns(context) : drawBlocks(context, first, after);
        drawAxis(context, first, after);
        drawPicked(context);
        hint.textContent = describeView(first, after, many);
        several.hidden = !many;
        const rest = axis.total - span;
        position.disabled = rest <= 0n;
        position.value = rest <= 0n ? "0" : String(Number((from * 1000n) / rest));
    }

    /** Where nothing else is drawn, no mapping is. */
    function drawGround(context) {
        const colours = paint.colours();
        context.fillStyle = colours.empty;
        context.fillRect(0, BAND_TOP, width, BAND_HEIGHT);
        if (axis.points) return;
        context.strokeStyle = colours.muted;
        context.globalAlpha = 0.55;
        context.setLineDash([2, 4]);
        context.lineWidth = 1;
        context.beginPath();
        context.moveTo(0, BAND_TOP + BAND_HEIGHT / 2);
        context.lineTo(width, BAND_TOP + BAND_HEIGHT / 2);
        context.stroke();
        context.setLineDash([]);
        context.globalAlpha = 1;
    }

    const faded = (shard) => picked.state.shard >= 0 && picked.state.shard !== shard;

    function mark(context, x, w, offline, locked) {
        const colours = paint.colours();
        if (locked) {
            context.fillStyle = colours.locked;
            context.fillRect(x, BAND_TOP - TRACK - 1, Math.max(2, w), TRACK);
        }
        if (offline) {
            context.fillStyle = colours.offline;
            context.fillRect(x, BAND_TOP + BAND_HEIGHT + 1, Math.max(2, w), TRACK);
        }
    }

    function drawBlocks(context, first, after) {
        const stripes = paint.hatch(context);
        const colours = paint.colours();
        for (let i = first; i < after; i++) {
            const [left, right] = [xOf(axis.start[i]), xOf(axis.end[i])];
            const open = map.isRange && map.high[i] === null;
            const seam = right - left > 4 && !open ? 1 : 0;
            const w = Math.max(1, right - left - seam);
            const shard = map.shardOf[i];
            context.globalAlpha = faded(shard) ? 0.22 : 1;
            const fill = () => {
                if (seam && w > 10) {
                    context.beginPath();
                    context.roundRect(left, BAND_TOP, w, BAND_HEIGHT, 3);
                    context.fill();
                } else context.fillRect(left, BAND_TOP, w, BAND_HEIGHT);
            };
            context.fillStyle = paint.shardColour(shard);
            if (open && w > 12) {
                const fade = context.createLinearGradient(left, 0, left + w, 0);
                fade.addColorStop(0.35, context.fillStyle);
                fade.addColorStop(1, colours.surface);
                context.fillStyle = fade;
            }
            fill();
            if (map.isOffline(i)) {
                context.fillStyle = stripes;
                context.globalAlpha *= 0.75;
                fill();
                context.globalAlpha = faded(shard) ? 0.22 : 1;
            }
            mark(context, left, w, map.isOffline(i), map.isLocked(i));
            drawBlockText(context, i, left, w, open);
        }
        context.globalAlpha = 1;
    }

    function drawBlockText(context, i, left, w, open) {
        const colours = paint.colours();
        const [visibleLeft, visibleRight] = [Math.max(0, left), Math.min(width, left + w)];
        const room = visibleRight - visibleLeft;
        if (map.isLocked(i) && room >= 14) {
            paint.padlock(context, (visibleLeft + visibleRight) / 2, BAND_TOP + 14, colours.locked);
        }
        if (room < 46) return;
        context.font = paint.font(12, 500);
        const text = paint.fittedName(context, map.shardOf[i], room - (open ? 30 : 12));
        const middle = BAND_TOP + BAND_HEIGHT / 2;
        if (text && map.isOffline(i)) {
            // A quiet ground, so that the stripes do not cross the letters.
            const size = context.measureText(text).width;
            context.fillStyle = paint.shardColour(map.shardOf[i]);
            context.fillRect((visibleLeft + visibleRight - size) / 2 - 4, middle - 9, size + 8, 18);
        }
        context.fillStyle = colours.ink;
        context.textAlign = "center";
        context.fillText(text, (visibleLeft + visibleRight) / 2 - (open ? 8 : 0), middle);
        if (open) {
            context.textAlign = "right";
            context.fillText("\u2192", visibleRight - 5, middle);
        }
    }

    /** More mappings than can be told apart: each column of pixels shows what it has in common. */
    function drawColumns(context) {
        const colours = paint.colours();
        for (let x = 0; x < width; x++) {
            const [first, after] = within(atX(x), atX(x + 1));
            if (first >= after) continue;
            const one = map.runOf[after] === map.runOf[first + 1];
            const shard = map.shardOf[first];
            context.globalAlpha = picked.state.shard >= 0 && !(one && shard === picked.state.shard) ? 0.3 : 1;
            context.fillStyle = one ? paint.shardColour(shard) : colours.several;
            const holes = map.gapsBefore[after] - map.gapsBefore[first + 1];
            context.fillRect(x, BAND_TOP, 1, holes ? BAND_HEIGHT - NOTCH : BAND_HEIGHT);
            const offline = map.offlineBefore[after] - map.offlineBefore[first];
            const locked = map.lockedBefore[after] - map.lockedBefore[first];
            mark(context, x, 1, offline > 0, locked > 0);
        }
        context.globalAlpha = 1;
        for (const i of ofPickedShard()) {
            context.fillStyle = colours.accent;
            const left = xOf(axis.start[i]);
            if (left > -20 && left < width) context.fillRect(left, BAND_TOP, Math.max(1.5, xOf(axis.end[i]) - left), BAND_HEIGHT);
        }
    }

    const ofPickedShard = () => (picked.state.shard >= 0 ? map.shards[picked.state.shard].mappings : []);

    function drawPoints(context, first, after) {
        for (let i = first; i < after; i++) {
            const x = xOf(axis.start[i]);
            const shard = map.shardOf[i];
            context.globalAlpha = faded(shard) ? 0.22 : 1;
            context.fillStyle = paint.lineColour(shard);
            context.fillRect(Math.round(x) - 1, BAND_TOP, 3, BAND_HEIGHT);
            mark(context, x - 2, 4, map.isOffline(i), map.isLocked(i));
        }
        context.globalAlpha = 1;
    }

    /** Points so close that only their number can be shown: bars of a few pixels. */
    function drawDensity(context) {
        const colours = paint.colours();
        const STEP = 4;
        const bars = [];
        for (let x = 0; x < width; x += STEP) bars.push(within(atX(x), atX(x + STEP)));
        const most = Math.max(1, ...bars.map(([first, after]) => after - first));
        const mine = new Int32Array(bars.length + 1);
        for (const i of ofPickedShard()) {
            const x = xOf(axis.start[i]);
            if (x >= 0 && x < width) mine[Math.floor(x / STEP)]++;
        }
        const bar = (at, many) => {
            const height = many === 0 ? 0 : Math.max(2, (many / most) * (BAND_HEIGHT - 2));
            context.fillRect(at * STEP, BAND_TOP + BAND_HEIGHT - height, STEP - 1, height);
        };
        bars.forEach(([first, after], at) => {
            if (first >= after) return;
            context.globalAlpha = picked.state.shard >= 0 ? 0.35 : 1;
            context.fillStyle = colours.several;
            bar(at, after - first);
            context.globalAlpha = 1;
            context.fillStyle = colours.accent;
            bar(at, mine[at]);
            const offline = map.offlineBefore[after] - map.offlineBefore[first];
            const locked = map.lockedBefore[after] - map.lockedBefore[first];
            mark(context, at * STEP, STEP - 1, offline > 0, locked > 0);
        });
    }

    /** Bounds below the band, as many as there is room for. */
    function drawAxis(context, first, after) {
        const colours = paint.colours();
        context.font = paint.font(11);
        context.textAlign = "left";
        let free = 0;
        let i = first;
        while (i < after) {
            const candidates = [[axis.start[i], map.low[i]]];
            const ends = map.isRange && map.high[i] !== null && (i + 1 === map.count || map.isGapBefore(i + 1));
            if (ends) candidates.push([axis.end[i], map.high[i]]);
            for (const [at, hex] of candidates) {
                const x = xOf(at);
                if (x < free || x > width) continue;
                const text = paint.fitted(context, map.show(hex), 260);
                const size = context.measureText(text).width;
                const left = Math.min(x, width - size);
                if (left < free) continue;
                context.fillStyle = colours.muted;
                context.fillRect(Math.min(Math.floor(x), width - 1), AXIS_TOP - 4, 1, 6);
                context.fillText(text, left, AXIS_TOP + 10);
                free = left + size + 18;
            }
            // The next mapping with a bound where there is room again.
            const next = map.firstWhere((j) => xOf(axis.points ? axis.start[j] : axis.end[j]) >= free);
            i = Math.max(i + 1, next);
        }
    }

    function drawPicked(context) {
        const colours = paint.colours();
        const { mapping, key } = picked.state;
        if (mapping >= 0) {
            const left = xOf(axis.start[mapping]) - (axis.points ? 4 : 0);
            const right = Math.max(xOf(axis.end[mapping]) + (axis.points ? 4 : 0), left + 3);
            if (right > 0 && left < width) {
                context.strokeStyle = colours.ink;
                context.lineWidth = 2;
                context.strokeRect(left + 0.5, BAND_TOP, right - left - 2, BAND_HEIGHT);
                if (key === null) pin(context, (Math.max(0, left) + Math.min(width, right)) / 2, colours.ink);
            }
        }
        if (key !== null) {
            const x = xOf(axis.at(key));
            const inside = Math.max(5, Math.min(width - 5, x));
            context.fillStyle = colours.accent;
            // Where widths are equal, the place within a mapping has no meaning.
            if (x >= 0 && x <= width && axis.name === "proportional") context.fillRect(x - 0.75, BAND_TOP - 8, 1.5, BAND_HEIGHT + 8 + TRACK);
            pin(context, inside, colours.accent);
        }
        if (marked) {
            context.fillStyle = colours.accent;
            context.globalAlpha = 0.18;
            context.fillRect(Math.min(...marked), BAND_TOP - 6, Math.abs(marked[1] - marked[0]), BAND_HEIGHT + 12);
            context.globalAlpha = 1;
        }
    }

    function pin(context, x, colour) {
        context.fillStyle = colour;
        context.beginPath();
        context.moveTo(x - 6, 4);
        context.lineTo(x + 6, 4);
        context.lineTo(x, 14);
        context.fill();
    }

    function describeView(first, after, many) {
        const parts = [];
        if (span < axis.total) parts.push(`${figure(after - first)} of ${plural(map.count, "mapping")} in view`);
        if (many && axis.points) parts.push("bars show how many points lie close together");
        else if (many) {
            parts.push("several mappings share each pixel: zoom in to tell them apart");
            if (map.gapsBefore[after] > map.gapsBefore[first]) parts.push("notches are gaps among them");
        }
        if (map.isRange && axis.name === "equal") parts.push("widths say nothing about the number of keys");
        const text = parts.join("; ");
        return text ? `${text[0].toUpperCase()}${text.slice(1)}.` : "";
    }

    function show(begin, length) {
        span = length < axis.least ? axis.least : length;
        if (span > axis.total) span = axis.total;
        const last = axis.total - span;
        from = begin < 0n ? 0n : begin > last ? last : begin;
        draw();
    }

    /** By so many quarters, about a place on the axis. */
    function zoom(inward, about = from + span / 2n) {
        const length = inward ? span / 2n : span * 2n;
        show(about - ((about - from) * length) / span, length);
    }
    const pan = (steps) => show(from + (span / 8n) * BigInt(steps), span);
    const showAll = () => show(0n, axis.total);

    /** Zooms until a mapping, or a place, is a good part of what is seen. */
    function zoomTo(mapping, at) {
        if (mapping >= 0 && !axis.points) {
            const size = axis.end[mapping] - axis.start[mapping];
            show(axis.start[mapping] - size, size * 3n);
        } else {
            const near = map.firstWhere((i) => axis.start[i] >= at);
            const [left, right] = [Math.max(0, near - 8), Math.min(map.count - 1, near + 8)];
            const reach = [at - axis.start[left], axis.start[right] - at, axis.least].reduce((a, b) => (a > b ? a : b));
            show(at - reach, reach * 2n);
        }
    }

    /** Moves what is seen so far that a mapping is in it. */
    function reveal(mapping) {
        const [begin, end] = [axis.start[mapping], axis.end[mapping]];
        if (end < from || begin > from + span) show((begin + end) / 2n - span / 2n, span);
    }

    function pick(mapping) {
        picked.set({ mapping, key: null });
        reveal(mapping);
    }

    /** The mapping under the pointer; near points count. */
    function under(x) {
        const [first, after] = axis.points ? within(atX(x - 4), atX(x + 4)) : within(atX(x), atX(x) + 1n);
        return [first, after];
    }

    const local = (event) => Math.max(0, Math.min(width, event.clientX - canvas.getBoundingClientRect().left));

    canvas.addEventListener("pointermove", (event) => {
        const x = local(event);
        if (marked) {
            marked[1] = x;
            draw();
            return;
        }
        const [first, after] = within(atX(x), atX(x + 1));
        const [near, afterNear] = under(x);
        if (after - first > 1) {
            paint.showNote(event, [`${plural(after - first, "mapping")} here`, `${map.extent(first)} to ${map.extent(after - 1)}`]);
        } else if (near < afterNear) {
            const i = near;
            paint.showNote(event, [map.extent(i), `${map.shardName(map.shardOf[i])}: ${map.condition(i)}`]);
        } else paint.showNote(event, ["not mapped"]);
    });
    canvas.addEventListener("pointerleave", paint.hideNote);
    canvas.addEventListener("pointerdown", (event) => {
        if (event.button !== 0) return;
        paint.hideNote();
        canvas.setPointerCapture(event.pointerId);
        marked = [local(event), local(event)];
    });
    canvas.addEventListener("pointerup", () => {
        if (!marked) return;
        const [left, right] = [Math.min(...marked), Math.max(...marked)];
        marked = null;
        if (right - left > 6) show(atX(left), atX(right) - atX(left));
        else {
            const [first, after] = under(left);
            if (first < after) pick(first);
            else draw();
        }
    });
    canvas.addEventListener("pointercancel", () => {
        marked = null;
        draw();
    });
    canvas.addEventListener("dblclick", showAll);
    canvas.addEventListener(
        "wheel",
        (event) => {
            // The bare wheel scrolls the page.
            if (!event.ctrlKey && !event.metaKey) return;
            event.preventDefault();
            zoom(event.deltaY < 0, atX(local(event)));
        },
        { passive: false },
    );
    canvas.addEventListener("keydown", (event) => {
        if (event.ctrlKey || event.metaKey || event.altKey || map.count === 0) return;
        const now = picked.state.mapping;
        const step = (by) => pick(Math.max(0, Math.min(map.count - 1, now < 0 ? (by < 0 ? map.count - 1 : 0) : now + by)));
        const actions = {
            ArrowRight: () => (event.shiftKey ? pan(1) : step(1)),
            ArrowLeft: () => (event.shiftKey ? pan(-1) : step(-1)),
            ArrowUp: () => step(1),
            ArrowDown: () => step(-1),
            PageUp: () => step(10),
            PageDown: () => step(-10),
            Home: () => pick(0),
            End: () => pick(map.count - 1),
            Enter: () => now >= 0 && zoomTo(now, axis.start[now]),
            Escape: () => (picked.set({ mapping: -1, shard: -1, key: null }), showAll()),
            "+": () => zoom(true, centre()),
            "=": () => zoom(true, centre()),
            "-": () => zoom(false, centre()),
            0: showAll,
        };
        if (!Object.hasOwn(actions, event.key)) return;
        event.preventDefault();
        actions[event.key]();
    });

    /** Zooming keeps what is picked in sight. */
    function centre() {
        const { mapping, key } = picked.state;
        const at = key !== null ? axis.at(key) : mapping >= 0 ? (axis.start[mapping] + axis.end[mapping]) / 2n : null;
        return at !== null && at >= from && at <= from + span ? at : from + span / 2n;
    }

    choice.addEventListener("change", () => {
        axis = axisNamed(choice.value);
        showAll();
        if (picked.state.mapping >= 0) reveal(picked.state.mapping);
    });
    position.addEventListener("input", () => show(((axis.total - span) * BigInt(position.value)) / 1000n, span));
    const buttons = { "zoom-in": () => zoom(true, centre()), "zoom-out": () => zoom(false, centre()), "zoom-all": showAll };
    for (const [id, action] of Object.entries(buttons)) document.getElementById(id).addEventListener("click", action);

    function say() {
        const { mapping } = picked.state;
        canvas.setAttribute("aria-valuemin", "0");
        canvas.setAttribute("aria-valuemax", String(map.count));
        canvas.setAttribute("aria-valuenow", String(mapping + 1));
        const text = mapping < 0 ? `none of ${plural(map.count, "mapping")}` : map.describe(mapping);
        canvas.setAttribute("aria-valuetext", text);
    }
    picked.listen(() => {
        say();
        draw();
    });
    paint.onRedraw(draw);

    return {
        start() {
            say();
            draw();
        },
        reveal(hex, mapping) {
            const at = axis.at(hex);
            if (at < from || at > from + span) show(at - span / 2n, span);
            if (mapping < 0) return false;
            if (!axis.points) return xOf(axis.end[mapping]) - xOf(axis.start[mapping]) < 4;
            const [first, after] = under(xOf(at));
            return after - first > 1;
        },
        zoomTo: (hex, mapping) => zoomTo(mapping, axis.at(hex)),
        pick,
    };
})();
