// The same as text: tables of shards and mappings, a page at a time.

/** An element with texts and elements in it; what is text stays text. */
function element(tag, attributes, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
        if (value !== false) made.setAttribute(name, value === true ? "" : value);
    }
    made.append(...children);
    return made;
}

/** A name, which may be written in either direction. */
const nameElement = (text) => element("bdi", { class: "name" }, map.visible(text));
const keyElement = (hex) => element("span", { class: "key" }, hex === null ? "+\u221e" : map.show(hex));
const badge = (kind, text) => element("span", { class: `badge ${kind}` }, text);

/** Pages of rows below a heading; `rows` are indices, `cells` makes the cells of one. */
function pagedTable(id, { size, cells, attributes }) {
    const body = document.querySelector(`#${id} tbody`);
    const pager = document.querySelector(`#${id} .pager`);
    const status = element("span", { class: "page", "aria-live": "polite" });
    const go = (text, label, step) => {
        const button = element("button", { type: "button", "aria-label": label }, text);
        button.addEventListener("click", () => show(page + step));
        return button;
    };
    const [back, on] = [go("\u2190", "Previous page", -1), go("\u2192", "Next page", 1)];
    pager.append(back, status, on);
    let [rows, page, nothing] = [[], 0, ""];

    function show(wanted) {
        const pages = Math.max(1, Math.ceil(rows.length / size));
        page = Math.max(0, Math.min(pages - 1, wanted));
        const seen = rows.slice(page * size, (page + 1) * size);
        const made = seen.map((row) => {
            const line = element("tr", attributes(row));
            line.append(...cells(row).map((cell) => (cell.tagName === "TH" ? cell : element("td", {}, cell))));
            return line;
        });
        const columns = document.querySelectorAll(`#${id} thead th`).length;
        if (made.length === 0) made.push(element("tr", {}, element("td", { colspan: columns, class: "none" }, nothing)));
        body.replaceChildren(...made);
        pager.hidden = pages === 1;
        back.disabled = page === 0;
        on.disabled = page === pages - 1;
        const last = Math.min(rows.length, (page + 1) * size);
        status.textContent = `${figure(page * size + 1)}\u2013${figure(last)} of ${figure(rows.length)}`;
    }

    return {
        fill(newRows, whenNone) {
            [rows, nothing] = [newRows, whenNone];
            show(0);
        },
        /** Turns to the page that has a row. */
        turnTo(row) {
            const at = rows.indexOf(row);
            show(at < 0 ? page : Math.floor(at / size));
        },
    };
}

const lists = (() => {
    const shardFilter = document.getElementById("shard-filter");
    const state = document.getElementById("state");
    const only = document.getElementById("only");

    const swatch = (shard) => {
        const made = element("i", { class: "swatch", "aria-hidden": "true" });
        made.style.background = paint.shardColour(shard);
        return made;
    };
    const waiting = (shard) => (shard.pending ? [" ", badge("pending", "operation pending")] : []);
    const number = (value) => (value ? figure(value) : element("span", { class: "zero" }, "0"));

    const shardTable = pagedTable("shard-list", {
        size: 20,
        attributes: (shard) => ({ "aria-current": picked.state.shard === shard && "true" }),
        cells(index) {
            const shard = map.shards[index];
            const button = element("button", { type: "button", class: "plain" }, swatch(index), nameElement(shard.location));
            button.addEventListener("click", () => picked.set({ shard: picked.state.shard === index ? -1 : index }));
            return [
                element("th", { scope: "row" }, button),
                element("span", { class: "badges" }, shard.online ? "enabled" : badge("offline", "disabled"), ...waiting(shard)),
                number(shard.mappings.length),
                number(shard.offline),
                number(shard.locked),
                nameElement(shard.description),
            ];
        },
    });

    // A row of the table is the index of a mapping; the bitwise complement of one stands for the gap before it.
    const mappingTable = pagedTable("mapping-list", {
        size: 50,
        attributes: (row) => ({
            "aria-current": picked.state.mapping === row && "true",
            class: row < 0 && "gap",
        }),
        cells: (row) => (row < 0 ? gapCells(~row) : mappingCells(row)),
    });

    function gapCells(next) {
        return [element("th", { scope: "row" }, keyElement(map.high[next - 1])), keyElement(map.low[next]), "not mapped", "", ""];
    }

    function mappingCells(i) {
        const button = element("button", { type: "button", class: "plain" }, keyElement(map.low[i]));
        button.addEventListener("click", () => strip.pick(i));
        const shard = map.shardOf[i];
        const cells = [
            element("th", { scope: "row" }, button),
            element("span", {}, swatch(shard), nameElement(map.shards[shard].location)),
            map.isOffline(i) ? badge("offline", "offline") : "online",
            map.isLocked(i) ? badge("locked", "locked") : "",
        ];
        if (map.isRange) cells.splice(1, 0, keyElement(map.high[i]));
        return cells;
    }

    function fillShards() {
        const wanted = shardFilter.value.trim().toLowerCase();
        const matches = (shard) => `${shard.location}\n${shard.description}`.toLowerCase().includes(wanted);
        const rows = map.shards.flatMap((shard, i) => (matches(shard) ? [i] : []));
        shardTable.fill(rows, map.shards.length === 0 ? "The map has no shards." : "No shard has this in its name or description.");
    }

    function fillMappings() {
        const tests = {
            all: () => true,
            offline: map.isOffline,
            locked: map.isLocked,
            gaps: () => false,
        };
        const { shard } = picked.state;
        const gaps = ["all", "gaps"].includes(state.value) && shard < 0;
        const rows = [];
        for (let i = 0; i < map.count; i++) {
            if (gaps && map.isGapBefore(i)) rows.push(~i);
            if ((shard < 0 || map.shardOf[i] === shard) && tests[state.value](i)) rows.push(i);
        }
        mappingTable.fill(rows, map.count === 0 ? "The map has no mappings." : "None.");
        only.hidden = shard < 0;
        if (shard >= 0) {
            const all = element("button", { type: "button" }, "Show all shards");
            all.addEventListener("click", () => picked.set({ shard: -1 }));
            only.replaceChildren("Only ", nameElement(map.shards[shard].location), " ", all);
        }
    }

    shardFilter.addEventListener("input", fillShards);
    state.addEventListener("change", fillMappings);
    picked.listen((changed) => {
        if (changed.includes("shard")) {
            fillMappings();
            shardTable.turnTo(picked.state.shard);
        }
        if (changed.includes("mapping")) mappingTable.turnTo(picked.state.mapping);
    });
    paint.onRedraw(() => {
        shardTable.turnTo(-1);
        mappingTable.turnTo(-1);
    });

    return {
        start() {
            fillShards();
            fillMappings();
        },
    };
})();
