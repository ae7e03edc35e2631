// Keys as people write them and as stores hold them: what `KeyType::parse` and `KeyType::show` of the library do.
//
// A stored key is a string of lower-case hexadecimal digits here. Such strings compare as their bytes do, so their order is
// the order of the keys; the empty one is the least key.

const keys = (() => {
    const TICKS_PER_SECOND = 10_000_000n;
    const MAX_TICKS = 3_155_378_975_999_999_999n;
    const MAX_BINARY_DIGITS = 256;
    /** Digits of every key but the least. */
    const DIGITS = { Int32: 8, Int64: 16, Guid: 32, DateTime: 16, TimeSpan: 16, DateTimeOffset: 32 };

    const WANTED = {
        Int32: "a whole number from -2147483648 to 2147483647",
        Int64: "a whole number from -9223372036854775808 to 9223372036854775807",
        Guid: "a GUID as 6f9619ff-8b86-d011-b42d-00c04fc964ff",
        Binary: "bytes as 0x00ff, at most 128",
        DateTime: "a date and time as 2026-11-21 08:30:00.5, or a date alone",
        TimeSpan: "a time span as 1.02:03:04.5 (days, hours, minutes, seconds) or PT93784.5S",
        DateTimeOffset: "a date and time with its offset as 2026-11-21 08:30:00.5 +01:00",
    };

    /** The least key is the empty string. */
    const canonical = (hex) => (/^0*$/.test(hex) ? "" : hex);

    /** A signed number of so many bits, as digits in the order of the numbers; null if it does not fit. */
    function digitsOfSigned(value, bits) {
        const half = 1n << (bits - 1n);
        if (value < -half || value >= half) return null;
        return (value + half).toString(16).padStart(Number(bits) / 4, "0");
    }

    function signedOfDigits(hex, digits) {
        return BigInt("0x" + (hex.padEnd(digits, "0") || "0")) - (1n << BigInt(digits * 4 - 1));
    }

    function wholeNumber(text, bits) {
        if (!/^[+-]?[0-9]+$/.test(text)) return null;
        const digits = digitsOfSigned(BigInt(text), bits);
        return digits === null ? null : canonical(digits);
    }

    const pairs = (hex) => hex.match(/../g) ?? [];
    const reversed = (hex) => pairs(hex).reverse().join("");

    function guid(text) {
        let plain = text;
        if (text.length === 38 && text.startsWith("{") && text.endsWith("}")) plain = text.slice(1, -1);
        else if (text.length === 45 && /^urn:uuid:/i.test(text)) plain = text.slice(9);
        const dashed = /^([0-9a-f]{8})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{12})$/i.exec(plain);
        const bare = /^([0-9a-f]{8})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{12})$/i.exec(text);
        const parts = dashed ?? bare;
        if (!parts) return null;
        const [a, b, c, d, e] = parts.slice(1).map((part) => part.toLowerCase());
        // SQL Server compares the last group first, and the first three from the last to the first, each reversed.
        return canonical(e + d + reversed(c) + reversed(b) + reversed(a));
    }

    function showGuid(hex) {
        const full = hex.padEnd(32, "0");
        const [e, d] = [full.slice(0, 12), full.slice(12, 16)];
        const [c, b, a] = [full.slice(16, 20), full.slice(20, 24), full.slice(24)].map(reversed);
        return `${a}-${b}-${c}-${d}-${e}`;
    }

    function binary(text) {
        if (!/^0[xX]([0-9a-fA-F]{2})*$/.test(text)) return null;
        // Trailing zero bytes do not count.
        const digits = text.slice(2).toLowerCase().replace(/(00)+$/, "");
        return digits.length <= MAX_BINARY_DIGITS ? digits : null;
    }

    /** Days from 0001-01-01 to a day of the Gregorian calendar; null if there is no such day. */
    function daysOfDate(year, month, day) {
        const leap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
        const lengths = [31, leap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        if (year < 1 || year > 9999 || month < 1 || month > 12 || day < 1 || day > lengths[month - 1]) return null;
        const before = year - 1;
        const years = before * 365 + Math.floor(before / 4) - Math.floor(before / 100) + Math.floor(before / 400);
        return years + lengths.slice(0, month - 1).reduce((sum, length) => sum + length, 0) + day - 1;
    }

    function dateOfDays(days) {
        // Years that begin in March, so that the leap day is the last: counted from 0000-03-01.
        const shifted = days + 306;
        const era = Math.floor(shifted / 146_097);
        const ofEra = shifted - era * 146_097;
        const yearOfEra = Math.floor(
            (ofEra - Math.floor(ofEra / 1460) + Math.floor(ofEra / 36_524) - Math.floor(ofEra / 146_096)) / 365,
        );
        const ofYear = ofEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
        const shiftedMonth = Math.floor((5 * ofYear + 2) / 153);
        const month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9;
        const day = ofYear - Math.floor((153 * shiftedMonth + 2) / 5) + 1;
        return [yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day];
    }

    /** Reads a text from its beginning, as greedily as the library does; `null` from any step is the end of it. */
    class Reader {
        constructor(text) {
            this.rest = text;
            this.failed = false;
        }
        take(pattern) {
            const found = this.failed ? null : pattern.exec(this.rest);
            if (!found) {
                this.failed = true;
                return "";
            }
            this.rest = this.rest.slice(found[0].length);
            return found[0];
        }
        spaces() {
            return this.take(/^\p{White_Space}*/u);
        }
        /** A number of at most so many digits; blanks may stand before it. */
        number(width) {
            this.spaces();
            return Number(this.take(new RegExp(`^[0-9]{1,${width}}`)));
        }
        year() {
            this.spaces();
            if (!/^[+-]/.test(this.rest)) return this.number(4);
            return Number(this.take(/^[+-][0-9]+/));
        }
        date(between) {
            const year = this.year();
            between();
            this.take(/^-/);
            const month = this.number(2);
            between();
            this.take(/^-/);
            return [year, month, this.number(2)];
        }
        /** Ticks since midnight. What is finer than a nanosecond is dropped, what is finer than a tick fails. */
        time(between) {
            const hour = this.number(2);
            between();
            this.take(/^:/);
            const minute = this.number(2);
            between();
            this.take(/^:/);
            const second = this.number(2);
            let nanos = 0;
            if (this.rest.startsWith(".")) nanos = Number(this.take(/^\.[0-9]+/).slice(1, 10).padEnd(9, "0"));
            if (hour > 23 || minute > 59 || second > 59 || nanos % 100 !== 0) this.failed = true;
            return BigInt(hour * 3600 + minute * 60 + second) * TICKS_PER_SECOND + BigInt(Math.floor(nanos / 100));
        }
        ended() {
            return !this.failed && this.rest === "";
        }
    }

    function ticksOf([year, month, day], time) {
        const days = daysOfDate(year, month, day);
        return days === null ? null : BigInt(days) * 86_400n * TICKS_PER_SECOND + time;
    }

    function dateTime(text) {
        const none = () => {};
        const full = new Reader(text.replace("T", " "));
        const date = full.date(none);
        full.spaces();
        const time = full.time(none);
        let ticks = null;
        if (full.ended()) {
            ticks = ticksOf(date, time);
        } else {
            const alone = new Reader(text);
            const day = alone.date(() => alone.spaces());
            alone.spaces();
            if (alone.ended()) ticks = ticksOf(day, 0n);
        }
        if (ticks === null) return null;
        return ticks === 0n ? "" : digitsOfSigned(ticks, 64n);
    }

    function dateTimeOffset(text) {
        const reader = new Reader(text);
        const between = () => reader.spaces();
        const date = reader.date(between);
        reader.take(/^[tT ]/);
        const time = reader.time(between);
        reader.spaces();
        let minutes = 0;
        if (/^UTC/i.test(reader.rest)) reader.take(/^UTC/i);
        else if (/^Z/i.test(reader.rest)) reader.take(/^Z/i);
        else {
            const sign = reader.take(/^[+\u2212-]/) === "+" ? 1 : -1;
            const hours = Number(reader.take(/^[0-9]{2}/));
            reader.take(/^[:\p{White_Space}]*/u);
            minutes = sign * (hours * 60 + Number(reader.take(/^[0-5][0-9]/)));
        }
        reader.spaces();
        const local = reader.ended() ? ticksOf(date, time) : null;
        if (local === null || Math.abs(minutes) > 14 * 60) return null;
        const offset = BigInt(minutes * 60) * TICKS_PER_SECOND;
        const instant = local - offset;
        if (instant < 0n || instant > MAX_TICKS) return null;
        // The earliest instant is the least key, whatever its offset.
        return instant === 0n ? "" : digitsOfSigned(instant, 64n) + digitsOfSigned(offset, 64n);
    }

    /** A number of digits alone. */
    const digitsAlone = (text) => (/^[0-9]+$/.test(text) ? BigInt(text) : null);
    /** What stands before and after the first or the last separator. */
    function cut(text, at, length, otherwise) {
        return at < 0 ? otherwise : [text.slice(0, at), text.slice(at + length)];
    }

    function timeSpan(text) {
        const negative = text.startsWith("-");
        const plain = negative ? text.slice(1) : text;
        let whole = 0n;
        let rest;
        if (plain.startsWith("PT") && plain.endsWith("S") && plain.length > 2) {
            rest = plain.slice(2, -1);
        } else if (plain === "P0D") {
            rest = "0";
        } else {
            const [before, seconds] = cut(plain, plain.lastIndexOf(":"), 1, [null, null]);
            if (before === null) return null;
            const [left, minutesText] = cut(before, before.lastIndexOf(":"), 1, [null, null]);
            if (left === null) return null;
            const [daysText, hoursText] = cut(left, left.indexOf("."), 1, ["0", left]);
            const [days, hours, minutes] = [daysText, hoursText, minutesText].map(digitsAlone);
            const below = digitsAlone(cut(seconds, seconds.indexOf("."), 1, [seconds])[0]);
            if ([days, hours, minutes, below].includes(null)) return null;
            if (hours >= 24n || minutes >= 60n || below >= 60n) return null;
            whole = days * 86_400n + hours * 3_600n + minutes * 60n;
            rest = seconds;
        }
        const [secondsText, fraction] = cut(rest, rest.indexOf("."), 1, [rest, "0"]);
        const seconds = digitsAlone(secondsText);
        const nanos = fraction.length > 9 ? null : digitsAlone(fraction.padEnd(9, "0"));
        if (seconds === null || nanos === null || nanos % 100n !== 0n) return null;
        const ticks = (whole + seconds) * TICKS_PER_SECOND + nanos / 100n;
        const digits = digitsOfSigned(negative ? -ticks : ticks, 64n);
        return digits === null ? null : canonical(digits);
    }

    const two = (number) => String(number).padStart(2, "0");

    /** A fraction of a second with three, six or nine digits, or none. */
    function showFraction(ticks) {
        const digits = String(ticks).padStart(7, "0") + "00";
        if (/^0*$/.test(digits)) return "";
        return "." + digits.replace(/^(...)(000000)$/, "$1").replace(/^(......)(000)$/, "$1");
    }

    function showDateTime(ticks) {
        const clamped = ticks < 0n ? 0n : ticks > MAX_TICKS ? MAX_TICKS : ticks;
        const seconds = clamped / TICKS_PER_SECOND;
        const [year, month, day] = dateOfDays(Number(seconds / 86_400n));
        const time = Number(seconds % 86_400n);
        const date = `${String(year).padStart(4, "0")}-${two(month)}-${two(day)}`;
        const clock = [Math.floor(time / 3600), Math.floor(time / 60) % 60, time % 60].map(two).join(":");
        return `${date} ${clock}${showFraction(clamped % TICKS_PER_SECOND)}`;
    }

    function showTimeSpan(ticks) {
        if (ticks === 0n) return "P0D";
        const size = ticks < 0n ? -ticks : ticks;
        const fraction = size % TICKS_PER_SECOND;
        const digits = fraction ? "." + String(fraction).padStart(7, "0").replace(/0+$/, "") : "";
        return `${ticks < 0n ? "-" : ""}PT${size / TICKS_PER_SECOND}${digits}S`;
    }

    function showDateTimeOffset(hex) {
        const instant = hex === "" ? 0n : signedOfDigits(hex.slice(0, 16), 16);
        const offset = hex === "" ? 0n : signedOfDigits(hex.slice(16), 16);
        const minutes = Number(offset / TICKS_PER_SECOND / 60n);
        const size = Math.abs(minutes);
        const zone = `${minutes < 0 ? "-" : "+"}${two(Math.floor(size / 60))}:${two(size % 60)}`;
        return `${showDateTime(instant + offset)} ${zone}`;
    }

    const PARSERS = {
        Int32: (text) => wholeNumber(text, 32n),
        Int64: (text) => wholeNumber(text, 64n),
        Guid: guid,
        Binary: binary,
        DateTime: dateTime,
        TimeSpan: timeSpan,
        DateTimeOffset: dateTimeOffset,
    };

    const WRITERS = {
        Int32: (hex) => String(signedOfDigits(hex, 8)),
        Int64: (hex) => String(signedOfDigits(hex, 16)),
        Guid: showGuid,
        Binary: (hex) => "0x" + hex,
        DateTime: (hex) => showDateTime(hex === "" ? 0n : signedOfDigits(hex, 16)),
        TimeSpan: (hex) => showTimeSpan(signedOfDigits(hex, 16)),
        DateTimeOffset: showDateTimeOffset,
    };

    return {
        /** The stored form of what a person wrote, or null if it is no key of that type. */
        parse: (type, text) => PARSERS[type](text.replace(/^\p{White_Space}+|\p{White_Space}+$/gu, "")),
        /** A stored key as people read it. */
        show: (type, hex) => WRITERS[type](hex),
        /** What a key of that type looks like. */
        wanted: (type) => WANTED[type],
        /** Digits of every key but the least; undefined where it varies. */
        digits: (type) => DIGITS[type],
    };
})();
