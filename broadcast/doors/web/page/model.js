// The conversations as this page knows them: members, lines in their order, and what is unread.

/** The most lines of a conversation in memory while its newest end is shown. */
export const MAX_LINES = 500;
/** The most lines in memory while older ones are read. */
const MAX_HELD_LINES = 20000;
/** Before a gap of more lines, the older lines leave the memory. */
const MAX_GAP = 500;

/**
 * @typedef {"said" | "emoted" | "told" | "joined" | "left" | "renamed" | "away" | "topic" |
 *   "crowd" | "gap" | "announced" | "shared" | "answer"} Kind
 * @typedef {object} Line
 * @property {number} id unique in this page, for views
 * @property {Kind} kind
 * @property {number | null} seq
 * @property {number} at seconds since the epoch
 * @property {string} nick
 * @property {string} session
 * @property {string | null} text or a reason (`left`, `away`), or the old nickname (`renamed`)
 * @property {string} uid
 * @property {"stored" | "sending" | "failed"} status
 * @property {string} reason why it failed
 * @property {any} file of a `shared` line
 * @property {boolean} isOwn
 * @property {boolean} mentions whether somebody else's line names this person
 * @property {number} first of a `gap`: its first number; of a `crowd`: how many joined
 * @property {number} last of a `gap`: its last number; of a `crowd`: how many left
 * @typedef {object} Member
 * @property {string} nick
 * @property {string} session
 * @property {string | null} away
 * @property {number} idle in seconds, when the list was read
 * @property {number} since the time of the last input, in seconds since the epoch
 * @typedef {{added: Line[], changed: Line[], removed: Line[], atStart: boolean}} Change
 * @typedef {{nick: string, isOwn: (session: string) => boolean}} Self
 */

let lastId = 0;

export function makeLine(members) {
  lastId += 1;
  return {
    seq: null,
    nick: "",
    session: "",
    text: "",
    uid: "",
    status: "stored",
    reason: "",
    file: null,
    isOwn: false,
    mentions: false,
    first: 0,
    last: 0,
    ...members,
    id: lastId,
  };
}

export function noChange() {
  return { added: [], changed: [], removed: [], atStart: false };
}

/** Return whether `text` names `nick` as a word. */
export function namesPerson(text, nick) {
  if (!nick) return false;
  const folded = text.toLowerCase();
  const name = nick.toLowerCase();
  const isWord = (c) => c !== undefined && /[\p{L}\p{N}_]/u.test(c);
  // A pattern would need a lookbehind, which Safari before 16.4 rejects.
  for (let at = folded.indexOf(name); at >= 0; at = folded.indexOf(name, at + 1)) {
    if (!isWord(folded[at - 1]) && !isWord(folded[at + name.length])) return true;
  }
  return false;
}

export class Conversation {
  constructor({ key, room = null, nick = "" }) {
    this.key = key;
    /** The room's name; null for a private conversation. */
    this.room = room;
    /** The other person's nickname; empty for a room. */
    this.nick = nick;
    this.topic = null;
    /** How many people are here. `members` may hold fewer until their list has arrived. */
    this.count = 0;
    /** @type {Map<string, Member>} */
    this.members = new Map();
    this.lines = [];
    this.unread = 0;
    /** How many of the unread lines name this person or are private. */
    this.mentioned = 0;
    /** The value of `unread` that the last event has named. */
    this.shownUnread = 0;
    /** The number of the newest line that was read. */
    this.readUpTo = 0;
    this.hasOlder = false;
    /** The number of the newest line that has arrived; -1 before the first snapshot. */
    this.newest = -1;
    /** Whether the view shows the newest end, so that lines are read as they arrive. */
    this.isReading = false;
    /** Whether the view shows older lines, so that they stay in memory. */
    this.isHeld = false;
    /** The own lines at the end whose stored form has not arrived. @type {Map<string, Line>} */
    this._own = new Map();
  }

  /** The number of the oldest line in memory, or null. */
  get oldest() {
    const line = this.lines.find((one) => one.seq !== null || one.kind === "gap");
    return line ? (line.seq ?? line.first) : null;
  }

  // Lines

  /** Take the answer to `join`, or a room of the answer to `hello`. */
  takeSnapshot(snapshot, self, at) {
    const isNew = this.newest < 0;
    if (isNew) {
      const first = snapshot.events.find((event) => event.seq ?? event.first);
      this.newest = first?.method === "gap" ? first.last : (first?.seq ?? snapshot.last + 1) - 1;
      this.hasOlder = this.newest > 0;
      if (this.readUpTo === 0) this.readUpTo = snapshot.last;
    }
    this.topic = snapshot.topic;
    this.members.clear();
    this.addMembers(snapshot.members, snapshot.count, at);
    const change = this.takeEvents(snapshot.events, self, at);
    if (this.newest < snapshot.last) {
      this._addGap(change, this.newest + 1, snapshot.last, at);
      this.newest = snapshot.last;
    }
    return change;
  }

  /** Take stored events of the room, and gaps between them, in their order. Repeated ones change nothing. */
  takeEvents(events, self, at) {
    const change = noChange();
    for (const event of events) {
      if (event.method === "gap") {
        if (event.last > this.newest)
          this._addGap(change, Math.max(event.first, this.newest + 1), event.last, at);
      } else if (typeof event.seq === "number") {
        if (event.seq > this.newest + 1) this._addGap(change, this.newest + 1, event.seq - 1, at);
        if (event.seq > this.newest) {
          const [line, wasOwn] = this._settle(event, self);
          this._push(line);
          this._count(line);
          change[wasOwn ? "changed" : "added"].push(line);
        }
      }
      this.newest = Math.max(this.newest, event.seq ?? event.last ?? 0);
    }
    if (this.isReading) this.markRead();
    return this._trim(change);
  }

  /** Add a line that has no number. */
  addNotice(line) {
    const change = noChange();
    this._push(line);
    change.added.push(line);
    if (line.kind === "told") this._count(line);
    if (this.isReading) this.markRead();
    return this._trim(change);
  }

  addOwn(line) {
    const change = noChange();
    this._own.set(line.uid, line);
    this.lines.push(line);
    change.added.push(line);
    return this._trim(change);
  }

  /**
   * Note that the server has answered an own line: with its number, without one (a private message), or with an error.
   * @param {string | null} reason why it failed
   */
  endOwn(uid, reason, result) {
    const change = noChange();
    const line = this._own.get(uid);
    if (line === undefined || line.status === "stored") return change;
    line.status = reason === null ? "stored" : "failed";
    line.reason = reason ?? "";
    change.changed.push(line);
    if (reason !== null) return change;
    line.seq = result.seq ?? null;
    line.at = result.at ?? line.at;
    if (line.seq === null) this._own.delete(uid); // a private message
    // The line was stored before a loss, among lines that are in a gap or not in memory.
    return line.seq !== null && line.seq <= this.newest ? this.takeOut(line) : change;
  }

  takeOut(line) {
    const change = noChange();
    const index = this.lines.indexOf(line);
    if (index >= 0) change.removed = this.lines.splice(index, 1);
    this._own.delete(line.uid);
    return change;
  }

  /**
   * Take lines from the history. They stand in a gap, or before all others. The answer covers the numbers `first` to
   * `last`; a gap remains for those of the old gap that it does not cover.
   */
  takeHistory(events, first, last, self) {
    const change = noChange();
    const gap = this.lines.find(
      (line) => line.kind === "gap" && line.first <= last && line.last >= first,
    );
    const oldest = this.oldest ?? this.newest + 1;
    if (!gap && first >= oldest) return change;
    const [low, high] = gap ? [gap.first, gap.last] : [1, oldest - 1];
    const lines = [];
    for (const event of events) {
      if (event.seq < low || event.seq > high) continue;
      const [line, wasOwn] = this._settle(event, self);
      lines.push(line);
      change[wasOwn ? "changed" : "added"].push(line);
      this._count(line);
    }
    const at = gap?.at ?? lines.at(-1)?.at ?? 0;
    const rest = (from, to) => makeLine({ kind: "gap", at, first: from, last: to });
    const before = gap && first > low ? [rest(low, first - 1)] : [];
    const after = last < high ? [rest(last + 1, high)] : [];
    change.added = [...before, ...change.added, ...after];
    if (gap) change.removed.push(gap);
    else this.hasOlder = first > 1;
    const index = gap ? this.lines.indexOf(gap) : 0;
    this.lines.splice(index, gap ? 1 : 0, ...before, ...lines, ...after);
    change.atStart = index === 0;
    if (this.isReading) this.markRead();
    return change;
  }

  /** Forget all numbers: the server has another journal. */
  forget() {
    const change = noChange();
    change.removed = this.lines.filter((line) => line.status === "stored");
    this.lines = this.lines.filter((line) => line.status !== "stored");
    for (const line of change.removed) this._own.delete(line.uid);
    this.newest = -1;
    this.readUpTo = 0;
    this.hasOlder = false;
    return change;
  }

  /** Note what the view shows: the newest end, older lines, or nothing of this conversation. */
  show(part) {
    this.isReading = part === "end";
    this.isHeld = part === "older";
    if (this.isReading) this.markRead();
    return this._trim(noChange());
  }

  markRead() {
    this.unread = this.mentioned = 0;
    if (this.newest > 0) this.readUpTo = this.newest;
  }

  lineOf(event, self) {
    const isOwn = self.isOwn(event.session);
    const text = event.text ?? event.file?.name ?? "";
    return makeLine({
      kind: event.method,
      seq: event.seq,
      at: event.at,
      nick: event.nick,
      session: event.session,
      text,
      uid: event.uid ?? "",
      file: event.file ?? null,
      isOwn,
      mentions: !isOwn && namesPerson(text, self.nick),
    });
  }

  /**
   * Return the line of a stored event, and whether it was an own one that is now settled. Such a line has left its
   * place at the end.
   * @returns {[Line, boolean]}
   */
  _settle(event, self) {
    const own = event.uid ? this._own.get(event.uid) : undefined;
    if (own === undefined) return [this.lineOf(event, self), false];
    this.takeOut(own);
    const { seq, at, nick, session, text = own.text } = event;
    Object.assign(own, { seq, at, nick, session, text, status: "stored", reason: "" });
    return [own, true];
  }

  /** Add a line before the own lines at the end that are not settled. */
  _push(line) {
    let end = this.lines.length;
    while (end > 0 && this._isUnsettled(this.lines[end - 1])) end -= 1;
    this.lines.splice(end, 0, line);
  }

  _isUnsettled(line) {
    return this._own.size > 0 && this._own.get(line.uid) === line;
  }

  _addGap(change, first, last, at) {
    if (last - first < MAX_GAP || this.isHeld) {
      const gap = makeLine({ kind: "gap", at, first, last });
      this._push(gap);
      change.added.push(gap);
      return;
    }
    const old = this.lines.filter((line) => !this._isUnsettled(line));
    this.lines = this.lines.filter((line) => this._isUnsettled(line));
    change.removed.push(...old.filter((line) => !change.added.includes(line)));
    change.added = [];
    this.hasOlder = true;
  }

  _count(line) {
    if (line.isOwn || (line.seq !== null && line.seq <= this.readUpTo) || line.kind === "gap")
      return;
    this.unread += 1;
    if (line.mentions || this.room === null) this.mentioned += 1;
  }

  /** Remove the oldest lines above the limit, but no own ones that are not stored. */
  _trim(change) {
    const surplus = this.lines.length - (this.isHeld ? MAX_HELD_LINES : MAX_LINES);
    if (surplus <= 0) return change;
    const gone = new Set();
    for (let at = 0; gone.size < surplus && at < this.lines.length; at += 1) {
      if (!this._isUnsettled(this.lines[at])) gone.add(this.lines[at]);
    }
    this.lines = this.lines.filter((line) => !gone.has(line));
    change.removed.push(...[...gone].filter((line) => !change.added.includes(line)));
    change.added = change.added.filter((line) => !gone.has(line));
    this.hasOlder ||= this.room !== null && gone.size > 0;
    return change;
  }

  // Members

  addMembers(members, count, at) {
    this.count = count;
    for (const member of members) {
      this.members.set(member.session, { ...member, since: at - member.idle });
    }
  }

  /** Take `joined`, `left`, `renamed` or `away`. Repetition changes nothing, and returns false. */
  takeMember(method, params, at) {
    const member = this.members.get(params.session);
    if (method === "joined") {
      if (member !== undefined) return false;
      const { nick, session } = params;
      this.members.set(session, { nick, session, away: null, idle: 0, since: at });
      this.count += 1;
    } else if (method === "left") {
      if (member === undefined && this.members.size >= this.count) return false;
      this.members.delete(params.session);
      this.count -= 1;
    } else if (member !== undefined && method === "renamed") {
      if (member.nick === params.nick) return false;
      member.nick = params.nick;
    } else if (member !== undefined && method === "away") {
      if (member.away === params.reason) return false;
      member.away = params.reason;
    }
    return true;
  }

  /** Note that a member has just written. */
  touch(session, at) {
    const member = this.members.get(session);
    if (member !== undefined) Object.assign(member, { idle: 0, since: at });
  }
}
