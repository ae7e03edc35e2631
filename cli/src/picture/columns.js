// The shards as columns: as high as they have mappings.

const columns = (() => {
    const canvas = document.getElementById("columns");
    const choice = document.getElementById("order");
    const TOP = 22;
    let order = [];
    let width = 1;

    function sort() {
        order = map.shards.map((_, i) => i);
        if (choice.value === "count") order.sort((a, b) => map.shards[b].mappings.length - map.shards[a].mappings.length || a - b);
    }

    const slot = () => width / Math.max(1, order.length);
    const at = (x) => Math.max(0, Math.min(order.length - 1, Math.floor(x / slot())));

    function draw() {
        const prepared = paint.prepare(canvas);
        const { context, height } = prepared;
        width = prepared.width;
        const wide = slot();
        const names = wide >= 60 ? "across" : wide >= 15 ? "down" : "none";
        context.font = paint.font(11);
        const longest = () => Math.max(...order.map((i) => context.measureText(paint.fittedName(context, i, 82)).width));
        const bottom = height - (names === "across" ? 40 : names === "down" ? longest() + 12 : 18);
        const most = Math.max(1, ...map.shards.map((shard) => shard.mappings.length));
        context.font = paint.font(12, 600);
        const counted = context.measureText(figure(most)).width <= wide - 4;
        drawScale(context, bottom, most, counted);
        const stripes = paint.hatch(context);
        const seam = wide > 24 ? 10 : wide > 6 ? 2 : wide > 3 ? 1 : 0;
        order.forEach((index, place) => {
            const left = place * wide + seam / 2;
            // Columns of less than a pixel's neighbourhood begin and end on whole pixels, or they would be blurred.
            const whole = wide < 4 ? Math.floor(left) : left;
            const size = wide < 4 ? Math.max(1, Math.floor(left + wide) - whole) : wide - seam;
            drawColumn(context, stripes, index, whole, size, bottom, most);
            if (counted) drawCount(context, index, left + size / 2, bottom, most);
            if (names === "across") drawName(context, index, left + size / 2, size + 6, bottom);
            else if (names === "down") drawNameDown(context, index, left + size / 2, bottom);
        });
        if (names === "none") {
            context.font = paint.font(11);
            context.fillStyle = paint.colours().muted;
            context.textAlign = "left";
            context.fillText(`${plural(order.length, "shard")}; point at a column to see which it is`, 0, height - 6);
        }
    }

    function drawScale(context, bottom, most, counted) {
        const colours = paint.colours();
        context.strokeStyle = colours.line;
        context.lineWidth = 1;
        for (const part of [0, 0.5, 1]) {
            const y = Math.round(bottom - part * (bottom - TOP)) + 0.5;
            context.beginPath();
            context.moveTo(0, y);
            context.lineTo(width, y);
            context.stroke();
        }
        if (counted) return;
        context.font = paint.font(11);
        context.fillStyle = colours.muted;
        context.textAlign = "left";
        context.fillText(`${figure(most)} mappings`, 0, TOP - 9);
    }

    function heightOf(index, bottom, most) {
        const many = map.shards[index].mappings.length;
        return many === 0 ? 0 : Math.max(2, (many / most) * (bottom - TOP));
    }

    function drawColumn(context, stripes, index, left, wide, bottom, most) {
        const colours = paint.colours();
        const shard = map.shards[index];
        const many = shard.mappings.length;
        const scale = (number) => (number / most) * (bottom - TOP);
        const tall = heightOf(index, bottom, most);
        const isPicked = picked.state.shard === index;
        context.globalAlpha = picked.state.shard >= 0 && !isPicked ? 0.3 : 1;
        // Of thin columns nobody can tell the colours, and pale ones could hardly be seen.
        context.fillStyle = wide < 4 ? colours.several : paint.shardColour(index);
        context.beginPath();
        context.roundRect(left, bottom - tall, wide, tall, wide > 12 ? [3, 3, 0, 0] : 0);
        context.fill();
        const striped = many === 0 ? 0 : Math.max(shard.offline ? 2 : 0, scale(shard.offline));
        context.fillStyle = wide >= 4 ? stripes : colours.offline;
        context.fillRect(left, bottom - tall, wide, striped);
        if (!shard.online) {
            // Under the column, so that an empty one shows it as well.
            context.fillStyle = colours.offline;
            context.fillRect(left, bottom + 1, Math.max(1, wide), 3);
        }
        context.globalAlpha = 1;
        if (isPicked) {
            context.strokeStyle = colours.ink;
            context.lineWidth = 2;
            context.strokeRect(left, bottom - Math.max(tall, 3), Math.max(2, wide), Math.max(tall, 3));
        }
        if (shard.locked > 0 && tall > 22 && wide >= 14) paint.padlock(context, left + wide / 2, bottom - 12, colours.locked);
    }

    function drawCount(context, index, middle, bottom, most) {
        const text = figure(map.shards[index].mappings.length);
        context.font = paint.font(12, 600);
        const half = context.measureText(text).width / 2;
        context.fillStyle = paint.colours().ink;
        context.textAlign = "center";
        const within = Math.max(half, Math.min(width - half, middle));
        context.fillText(text, within, bottom - heightOf(index, bottom, most) - 10);
    }

    function drawName(context, index, middle, room, bottom) {
        const colours = paint.colours();
        const shard = map.shards[index];
        context.textAlign = "center";
        context.font = paint.font(12);
        context.fillStyle = picked.state.shard === index ? colours.ink : colours.muted;
        context.fillText(paint.fittedName(context, index, room), middle, bottom + 15);
        context.font = paint.font(11, 600);
        const marks = [];
        if (!shard.online) marks.push(["disabled", colours.offline]);
        if (shard.pending) marks.push(["pending", colours.pending]);
        const both = marks.length === 2 ? context.measureText("offline  pending").width <= room : true;
        marks.slice(0, both ? 2 : 1).forEach(([text, colour], i, all) => {
            context.fillStyle = colour;
            const shift = all.length === 2 ? context.measureText(all[1 - i][0]).width / 2 + 3 : 0;
            context.fillText(text, middle + (i === 0 ? -shift : shift), bottom + 31);
        });
    }

    function drawNameDown(context, index, middle, bottom) {
        const colours = paint.colours();
        const shard = map.shards[index];
        context.save();
        context.translate(middle, bottom + 8);
        context.rotate(-Math.PI / 2);
        context.textAlign = "right";
        context.font = paint.font(11);
        context.fillStyle = shard.online ? (picked.state.shard === index ? colours.ink : colours.muted) : colours.offline;
        context.fillText(paint.fittedName(context, index, 82), 0, 0);
        context.restore();
    }

    function describe(index) {
        const shard = map.shards[index];
        const parts = [plural(shard.mappings.length, "mapping")];
        if (shard.offline) parts.push(`${figure(shard.offline)} offline`);
        if (shard.locked) parts.push(`${figure(shard.locked)} locked`);
        if (!shard.online) parts.push("the shard is disabled");
        if (shard.pending) parts.push("an operation is pending");
        return parts.join(", ");
    }

    const pick = (shard) => picked.set({ shard });
    canvas.addEventListener("pointermove", (event) => {
        if (order.length === 0) return;
        const index = order[at(event.clientX - canvas.getBoundingClientRect().left)];
        paint.showNote(event, [map.shardName(index), describe(index)]);
    });
    canvas.addEventListener("pointerleave", paint.hideNote);
    canvas.addEventListener("click", (event) => {
        if (order.length === 0) return;
        const index = order[at(event.clientX - canvas.getBoundingClientRect().left)];
        pick(index === picked.state.shard ? -1 : index);
    });
    canvas.addEventListener("keydown", (event) => {
        if (event.ctrlKey || event.metaKey || event.altKey || order.length === 0) return;
        const now = order.indexOf(picked.state.shard);
        const go = (place) => pick(order[Math.max(0, Math.min(order.length - 1, place))]);
        const actions = {
            ArrowRight: () => go(now + 1),
            ArrowUp: () => go(now + 1),
            ArrowLeft: () => go(now < 0 ? order.length - 1 : now - 1),
            ArrowDown: () => go(now < 0 ? order.length - 1 : now - 1),
            PageUp: () => go(now + 10),
            PageDown: () => go(now - 10),
            Home: () => go(0),
            End: () => go(order.length - 1),
            Escape: () => pick(-1),
        };
        if (!Object.hasOwn(actions, event.key)) return;
        event.preventDefault();
        actions[event.key]();
    });
    choice.addEventListener("change", () => {
        sort();
        draw();
    });

    function say() {
        const { shard } = picked.state;
        canvas.setAttribute("aria-valuemin", "0");
        canvas.setAttribute("aria-valuemax", String(order.length));
        canvas.setAttribute("aria-valuenow", String(order.indexOf(shard) + 1));
        const text = shard < 0 ? `none of ${plural(order.length, "shard")}` : `${map.shardName(shard)}: ${describe(shard)}`;
        canvas.setAttribute("aria-valuetext", text);
    }
    picked.listen(() => {
        say();
        draw();
    });
    paint.onRedraw(draw);

    return {
        start() {
            // Of columns without names the order tells most.
            if (map.shards.length > 80) choice.value = "count";
            sort();
            say();
            draw();
        },
    };
})();
