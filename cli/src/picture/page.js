// The page around the drawings: what it shows, what is pending, and the search.

(() => {
    const byId = (id) => document.getElementById(id);

    function head() {
        document.title = `${map.visible(map.name)} \u2013 shard map`;
        byId("name").replaceChildren(nameElement(map.name));
        byId("about").replaceChildren(
            `${map.isRange ? "Range" : "List"} map of ${map.keyType} keys`,
            element("br", {}),
            nameElement(map.store),
            ", ",
            nameElement(map.taken),
        );
        const marked = map.shards.filter((shard) => !shard.online).length;
        const figures = [
            [map.shards.length, map.shards.length === 1 ? "shard" : "shards", ""],
            [map.count, map.count === 1 ? "mapping" : "mappings", ""],
            [map.offline, "mappings offline", "offline"],
            [map.locked, "mappings locked", "locked"],
            [marked, marked === 1 ? "shard disabled" : "shards disabled", "offline"],
        ];
        if (map.isRange) figures.push([map.gaps, map.gaps === 1 ? "gap between ranges" : "gaps between ranges", ""]);
        figures.push([map.operations.length, map.operations.length === 1 ? "operation pending" : "operations pending", "pending"]);
        byId("figures").replaceChildren(
            ...figures.map(([number, text, kind]) =>
                element("div", { class: number ? kind : "zero" }, element("dd", {}, figure(number)), element("dt", {}, text)),
            ),
        );
    }

    function pending() {
        byId("pending").hidden = map.operations.length === 0;
        const count = map.operations.length;
        byId("pending-title").textContent = count === 1 ? "An operation is pending" : `${figure(count)} operations are pending`;
        byId("pending-list").replaceChildren(
            ...map.operations.map(([id, name, shards, undo]) => {
                const places = shards.flatMap((shard, i) => (i ? [", ", nameElement(shard)] : [" on ", nameElement(shard)]));
                return element(
                    "li",
                    {},
                    element("strong", {}, nameElement(name)),
                    ...places,
                    undo ? ", being undone " : " ",
                    element("code", {}, nameElement(id)),
                );
            }),
        );
    }

    /** What is said about a key, as an item of a list. */
    function answer(text) {
        const hex = keys.parse(map.keyType, text);
        const quoted = element("bdi", { class: "key" }, map.visible(text.trim()));
        if (hex === null) {
            const why = `is no ${map.keyType} key: ${keys.wanted(map.keyType)} is wanted.`;
            return { item: element("li", { "data-state": "invalid" }, quoted, " ", why) };
        }
        const { index, after } = map.find(hex);
        const shown = element("b", { class: "key" }, map.show(hex));
        const stored = element("span", { class: "stored", title: "The key as the stores hold it" }, "0x" + hex);
        if (index < 0) {
            const item = element("li", { "data-state": "unmapped" }, shown, " is not mapped");
            item.append(...neighbours(after), " ", stored);
            return { item, hex, index };
        }
        const shard = map.shards[map.shardOf[index]];
        const item = element("li", { "data-state": "mapped", "data-mapping": index }, shown, " is on ", nameElement(shard.location));
        if (map.isRange) item.append(", in ", element("span", { class: "extent" }, map.extent(index)));
        item.append(". ");
        item.append(map.isOffline(index) ? badge("offline", "offline") : badge("online", "online"));
        if (map.isLocked(index)) item.append(" ", badge("locked", "locked"));
        if (!shard.online) item.append(" ", badge("offline", "shard disabled"));
        if (shard.pending) item.append(" ", badge("pending", "operation pending on the shard"));
        item.append(" ", stored);
        return { item, hex, index };
    }

    /** Where a key that is not mapped lies. */
    function neighbours(after) {
        if (map.count === 0) return [": the map has no mappings."];
        const before = after > 0 ? (map.isRange ? map.high[after - 1] : map.low[after - 1]) : null;
        const parts = [];
        if (before !== null) parts.push(map.isRange ? ": what is before it ends at " : ": the point before it is ", keyElement(before));
        if (after < map.count) {
            const words = map.isRange ? "what is after it begins at " : "the point after it is ";
            parts.push(parts.length ? ", " : ": ", words, keyElement(map.low[after]));
        }
        return [...parts, "."];
    }

    function search(texts) {
        const answers = texts.map(answer);
        byId("answer").replaceChildren(...answers.map(({ item }) => item));
        const known = answers.filter(({ hex }) => hex !== undefined);
        const last = known[known.length - 1];
        if (!last) {
            picked.set({ mapping: -1, key: null });
            return;
        }
        picked.set({ mapping: last.index, key: last.hex });
        if (strip.reveal(last.hex, last.index)) {
            const zoom = element("button", { type: "button", class: "small" }, "Zoom to it");
            zoom.addEventListener("click", () => strip.zoomTo(last.hex, last.index));
            last.item.append(" ", zoom);
        }
    }

    /** The keys that the address asks for: `#key=1&key=2`. A plus is a plus. */
    function asked() {
        const decoded = (text) => {
            try {
                return decodeURIComponent(text);
            } catch {
                return text;
            }
        };
        const parts = location.hash.slice(1).split("&");
        return parts.filter((part) => part.startsWith("key=")).map((part) => decoded(part.slice(4)));
    }

    function searchAsked() {
        const texts = asked();
        if (texts.length === 0) return;
        byId("key").value = texts[texts.length - 1];
        search(texts);
    }

    byId("search").addEventListener("submit", (event) => {
        event.preventDefault();
        const text = byId("key").value;
        history.replaceState(null, "", `#key=${encodeURIComponent(text)}`);
        search([text]);
    });
    addEventListener("hashchange", searchAsked);

    head();
    pending();
    byId("key").placeholder = `${keys.wanted(map.keyType)}`;
    document.body.classList.add(map.isRange ? "range" : "list");
    strip.start();
    columns.start();
    lists.start();
    searchAsked();
    paint.redraw();
})();
