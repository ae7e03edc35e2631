// The shard map of the page: what was written into it, found by key, and laid out along an axis.

const map = (() => {
    const data = JSON.parse(document.getElementById("data").textContent);
    const { name, kind, keyType, store, taken } = data;
    const shardOf = data.mappings.shard;
    const count = shardOf.length;
    const isRange = kind === "range";
    const split = (text) => (count === 0 ? [] : text.split(" "));

    const low = split(data.mappings.low);
    // Nothing stands for the next mapping's low bound, `~` for none.
    const high = isRange
        ? split(data.mappings.high).map((text, i) => (text === "~" ? null : text || (low[i + 1] ?? "")))
        : low;
    const states = data.mappings.state;
    const isOffline = (i) => (states.charCodeAt(i) & 1) !== 0;
    const isLocked = (i) => (states.charCodeAt(i) & 2) !== 0;

    /** Whether keys between the mapping before and this one belong to nobody. */
    const isGapBefore = (i) => isRange && i > 0 && high[i - 1] !== null && high[i - 1] < low[i];

    const shards = data.shards.map(([location, online, description]) => ({
        location,
        online: online === 1,
        description,
        mappings: [],
        offline: 0,
        locked: 0,
        pending: data.operations.some(([, , places]) => places.includes(location)),
    }));
    // Sums over the mappings before each, so that a question about many costs no more than one about few.
    const [offlineBefore, lockedBefore, gapsBefore, runOf] = [0, 1, 2, 3].map(() => new Int32Array(count + 1));
    for (let i = 0; i < count; i++) {
        const shard = shards[shardOf[i]];
        shard.mappings.push(i);
        shard.offline += isOffline(i);
        shard.locked += isLocked(i);
        offlineBefore[i + 1] = offlineBefore[i] + isOffline(i);
        lockedBefore[i + 1] = lockedBefore[i] + isLocked(i);
        gapsBefore[i + 1] = gapsBefore[i] + isGapBefore(i);
        // Neighbours on one shard are of one run.
        runOf[i + 1] = i > 0 && shardOf[i] !== shardOf[i - 1] ? runOf[i] + 1 : runOf[i];
    }

    /** The first index from which on `test` holds, which holds for all that come after. */
    function firstWhere(test) {
        let [from, to] = [0, count];
        while (from < to) {
            const middle = (from + to) >> 1;
            if (test(middle)) to = middle;
            else from = middle + 1;
        }
        return from;
    }

    /** The mapping that holds a stored key: its index, or -1; and the index at which one would stand. */
    function find(hex) {
        const after = firstWhere((i) => low[i] > hex);
        const at = after - 1;
        const holds = at >= 0 && (isRange ? high[at] === null || hex < high[at] : low[at] === hex);
        return { index: holds ? at : -1, after };
    }

    /** Where stored keys lie in the key space, as whole numbers. */
    function placer() {
        const digits = keys.digits(keyType);
        if (digits !== undefined) {
            // All dates but the earliest have their first bit set: it would stand far from its neighbours.
            const first = keyType.startsWith("Date") ? "8".padEnd(digits, "0") : "0";
            return (hex) => BigInt("0x" + (hex === "" ? first : hex.padEnd(digits, "0")));
        }
        // Byte strings differ in some bytes after those that all have in common.
        const last = count === 0 ? "" : (high[count - 1] ?? low[count - 1]);
        let common = 0;
        while (count > 0 && common < last.length && last[common] === low[0][common]) common++;
        const LENGTH = 96;
        return (hex) => BigInt("0x" + (hex.slice(common, common + LENGTH).padEnd(LENGTH, "0") || "0"));
    }

    /** Ends of all mappings along an axis that begins at 0, in proportion to the key space. */
    function proportional() {
        const place = placer();
        const first = count === 0 ? 0n : place(low[0]);
        const last = count === 0 ? "" : (high[count - 1] ?? low[count - 1]);
        const span = count === 0 || place(last) === first ? 64n : place(last) - first;
        // The outermost points stand a little inside.
        const margin = isRange ? 0n : span / 100n + 1n;
        const put = (hex) => place(hex) - first + margin;
        const start = low.map(put);
        const end = isRange ? high.map((hex) => (hex === null ? 0n : put(hex))) : start;
        let total = span + 2n * margin;
        if (isRange && count > 0 && high[count - 1] === null) {
            // What has no upper bound is drawn as an open end.
            total += total / 12n + 1n;
            end[count - 1] = total;
        }
        const at = (hex) => (count === 0 || hex < low[0] ? -1n : hex > last ? total + 1n : put(hex));
        return { name: "proportional", start, end, total, at, least: 4n, points: !isRange };
    }

    /** The same with one width for every mapping, and a narrower one for every gap. */
    function equal() {
        const [WIDTH, GAP] = [1000n, 450n];
        const [start, end] = [[], []];
        let total = 0n;
        for (let i = 0; i < count; i++) {
            if (isGapBefore(i)) total += GAP;
            start.push(total);
            total += WIDTH;
            end.push(total);
        }
        function at(hex) {
            const { index, after } = find(hex);
            if (index >= 0) return (start[index] + end[index]) / 2n;
            if (after === 0) return -1n;
            return after < count ? (end[after - 1] + start[after]) / 2n : total + 1n;
        }
        return { name: "equal", start, end, total: total || 1n, at, least: WIDTH, points: false };
    }

    /** Whether most mappings would be lost in a hundredth of a proportional axis. */
    function isCrowded(axis) {
        if (count < 3) return false;
        const parts = new Int32Array(101);
        for (const at of axis.start) parts[Number((at * 100n) / axis.total)]++;
        return Math.max(...parts) * 2 > count;
    }

    /** A name with what would not be seen, or would turn the text around it, made visible. */
    function visible(text) {
        const hidden = /[\p{Cc}\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]/gu;
        return text.replace(hidden, (c) => `\u27e8U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}\u27e9`);
    }

    const show = (hex) => keys.show(keyType, hex);
    /** A name inside a sentence: its direction of writing does not reach the words around it. */
    const isolated = (text) => `\u2068${visible(text)}\u2069`;
    const shardName = (i) => isolated(shards[i].location);
    const extent = (i) => (isRange ? `[${show(low[i])}, ${high[i] === null ? "+\u221e" : show(high[i])})` : show(low[i]));
    const condition = (i) => (isOffline(i) ? "offline" : "online") + (isLocked(i) ? ", locked" : "");

    return {
        name, kind, keyType, store, taken, isRange, count, shards, shardOf, low, high, operations: data.operations,
        isOffline, isLocked, isGapBefore, offlineBefore, lockedBefore, gapsBefore, runOf,
        find, firstWhere, proportional, equal, isCrowded,
        visible, isolated, show, shardName, extent, condition,
        describe: (i) => `${extent(i)} on ${shardName(shardOf[i])}: ${condition(i)}`,
        offline: offlineBefore[count], locked: lockedBefore[count], gaps: gapsBefore[count],
    };
})();

/** A number as people read it. */
const figure = (number) => number.toLocaleString("en");
const plural = (number, one, many = one + "s") => `${figure(number)} ${number === 1 ? one : many}`;
