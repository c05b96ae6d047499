/* The load generator: many connections, some of which talk, in one thread with epoll.
 *
 *     load KEY=VALUE ...       the keys and what they mean stand in `settings` below
 *
 * It says what happens as one JSON object a line on stdout, waits for a line on stdin where it is asked to, and ends by
 * itself after `limit` seconds or with whoever started it. It counts bytes and never looks into a line once everybody
 * is in: every line has the same text and every nickname the same length, so every delivery has the same length, which
 * is learned from the last line that is said before the measurement. The kernel is even told not to copy what was
 * counted. At the end everything that was said must have arrived, to the byte; `exact` says whether it has.
 *
 * How long a delivery took: the n-th line that a reader gets is the n-th that was said. With several authors a server
 * may swap two lines, which swaps their times and leaves the sum. Only readers who say nothing are timed. In open loop
 * a line's time begins when it was due, so that a server which holds up its authors does not look fast.
 *
 * With several rooms, person n is in room n % rooms, and each room has its own count of lines. A line is complete when
 * all readers of its room have it. Consecutive lines go to different rooms.
 *
 * With JSON-RPC, the lengths of deliveries differ, but all readers of a room are sent the same bytes. So the bytes are
 * copied and searched for line ends only once, by the reader that is ahead of all others. The others only count them.
 *
 * Over a WebSocket, each line is one frame. The mask of its frames is zero: a server does the same work for it. All
 * deliveries of a server that only passes messages on have the same length, too. With JSON-RPC, the reader that is ahead
 * searches for the ends of the frames.
 *
 * It is compiled with -DWITH_TLS where OpenSSL is installed. It checks no certificate.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#ifdef WITH_TLS
#include <openssl/ssl.h>
#endif

enum { RING = 1 << 20, EVENTS = 1024, SCRATCH = 1 << 20, CARRY = 128, STEP = 10, BUCKETS = 2000000, AHEAD = 1024,
       HEAD = 64, UID = 32, ROOM_RING = 1 << 12 };

static struct setting { const char *name; double value; const char *meaning; } settings[] = {
#define SETTINGS(X)                                                                                                   \
    X(port, 0, "of the server, on 127.0.0.1")                                                                         \
    X(pid, 0, "the server's process, whose CPU time is read; 0: none")                                                \
    X(people, 10, "connections that read")                                                                            \
    X(first, 0, "the number in the first nickname: those of earlier people may not be free yet")                      \
    X(rooms, 1, "the people are spread over them in turn")                                                            \
    X(apart, 0, "1: a single room is not the one in which the server lets them arrive")                                \
    X(senders, 1, "of them talk, in turn")                                                                            \
    X(stalled, 0, "further connections that come in and then never read")                                             \
    X(arriving, 256, "at most so many are on their way in at once")                                                    \
    X(size, 64, "bytes of a line as it is sent, with its CRLF and without what the protocol puts around it")          \
    X(tls, 0, "1: with TLS")                                                                                          \
    X(websocket, 0, "1: over WebSockets at /ws")                                                                      \
    X(echo, 0, "1: an author gets their own lines too")                                                               \
    X(uid, 0, "1: each line carries a random uid of 128 bits (JSON-RPC)")                                             \
    X(settle, 0, "seconds to wait after everybody is in")                                                             \
    X(fill, 0, "lines said before the warm-up, so that those who never read are full")                                \
    X(window, 1, "closed loop: lines outstanding; one is said when all readers have one")                             \
    X(rate, 0, "open loop instead: lines a second")                                                                   \
    X(warm, 0.5, "seconds before the measurement")                                                                    \
    X(seconds, 0, "of the measurement; 0: none")                                                                      \
    X(lines, 0, "said in all, instead of a time")                                                                     \
    X(mark, 0, "report every so many lines")                                                                          \
    X(hold, 0, "1: when everybody is in, and at the end, wait for a line on stdin")                                   \
    X(stop, 0, "1: report when the measurement begins, and end it early with a line on stdin")                        \
    X(notices, 0, "1: do not count lines that begin with a blank, the notices about who comes and goes")              \
    X(visitors, 0, "instead of people: connections that join and leave in a loop until the end")                      \
    X(reset, 0, "1: visitors leave with a reset instead of quit")                                                     \
    X(limit, 120, "seconds after which it ends whatever happens")
#define ENTRY(name, value, meaning) {#name, value, meaning},
    SETTINGS(ENTRY)
#define NUMBER(name, value, meaning) N_##name,
};
enum { SETTINGS(NUMBER) };
#define GET(name) (settings[N_##name].value)

enum state { NEW, GREETED, JOINING, IN, GONE };
struct room {
    uint64_t said, least; /* lines said; lines that all readers have */
    uint64_t *said_at;    /* when line n was said, ns */
    uint32_t *at_level;   /* how many readers have n lines */
};
struct person {
    struct room *room;
    int fd, stalled, talks, swamped, inside, skipped; /* inside a line; that line is a notice */
    int owing;           /* in the list of authors who have bytes to say */
    enum state state;
    uint64_t bytes, base, got, own, level; /* base: bytes at the start; got: lines; level: lines that concern them */
    size_t owed, into;                     /* bytes they still have to say; how far into a line they are */
    char carry[CARRY];                     /* the end of what they read last, until everybody is in */
    int carried;
    char *lines;                           /* with uids: their own ring of lines */
    uint64_t formed;                       /* number of lines that were written to it */
#ifdef WITH_TLS
    SSL *tls;                              /* NULL without TLS */
#endif
};

static struct person *people;
static struct room *rooms;
static int *owing, owing_count;                     /* authors who have bytes to say */
static int readers, everybody, in, gone, seen, loop, timer, next_author, timing, stopped;
static char scratch[SCRATCH + CARRY], line[8192], *many, needle[64];
static size_t line_size, delivery; /* bytes of a line as it is said, with the protocol's words; of one as it arrives */
static uint64_t said, least, total; /* of all rooms */
static uint64_t ring;              /* lines of a room that can be on their way */
static uint64_t ends[RING];        /* JSON-RPC: the byte at which line n ends in the stream of the room */
static uint64_t ahead, ended;      /* bytes and lines of this stream that some reader has */
static char head[HEAD];            /* the beginning of the line that has not ended */
static size_t head_size, uid_at;   /* its length; where the uid stands in a line */
static unsigned char header[10];   /* WebSocket: the header of the frame that has not ended */
static size_t header_size, unread_size; /* its length; bytes that follow of the payload */
static uint32_t *each, *whole;     /* histograms: of deliveries, of lines until the last has them */
static uint64_t timed_from = UINT64_MAX, timed_until; /* lines said between these times are timed */
static enum { PLAIN, BROADCAST, IRC, NATS, JSON } dialect;
static enum { ARRIVE, LISTEN, RUN } phase;

#ifdef WITH_TLS
static ssize_t result_of(SSL *tls, int result) {
    if (result > 0) return result;
    int error = SSL_get_error(tls, result);
    if (error == SSL_ERROR_ZERO_RETURN) return 0;
    errno = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? EAGAIN : EPROTO;
    return -1;
}

static ssize_t take_bytes(struct person *who, void *to, size_t size, int flags) {
    if (!who->tls) return recv(who->fd, to, size, flags);
    size_t sum = 0; /* each call reads one record at most */
    for (ssize_t got; sum < size; sum += got)
        if ((got = result_of(who->tls, SSL_read(who->tls, (char *)to + sum, size - sum))) <= 0) return sum ? (ssize_t)sum : got;
    return sum;
}

static ssize_t send_bytes(struct person *who, const void *from, size_t size) {
    return who->tls ? result_of(who->tls, SSL_write(who->tls, from, size)) : send(who->fd, from, size, MSG_NOSIGNAL);
}

static int start_tls(struct person *who) {
    static SSL_CTX *context;
    if (!context) context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    who->tls = SSL_new(context);
    SSL_set_fd(who->tls, who->fd);
    return SSL_connect(who->tls) == 1;
}
#else
static ssize_t take_bytes(struct person *who, void *to, size_t size, int flags) { return recv(who->fd, to, size, flags); }
static ssize_t send_bytes(struct person *who, const void *from, size_t size) {
    return send(who->fd, from, size, MSG_NOSIGNAL);
}
static int start_tls(struct person *who) { (void)who; return 0; }
#endif

static uint64_t now(clockid_t clock) {
    struct timespec time;
    return clock_gettime(clock, &time) ? 0 : time.tv_sec * 1000000000ull + time.tv_nsec;
}
static uint64_t mono(void) { return now(CLOCK_MONOTONIC); }

static void tell(const char *format, ...) {
    va_list values;
    va_start(values, format);
    vprintf(format, values);
    va_end(values);
    putchar('\n');
    fflush(stdout);
}

static void fail(const char *why) {
    tell("{\"event\": \"failed\", \"why\": \"%s\", \"errno\": \"%s\", \"in\": %d, \"of\": %d, \"gone\": %d}", why,
         strerror(errno), in, everybody, gone);
    exit(1);
}

static void out_of_time(int number) {
    (void)number;
    static const char late[] = "{\"event\": \"failed\", \"why\": \"the time limit of the load generator\"}\n";
    if (write(1, late, sizeof late - 1) < 0) _exit(3);
    _exit(2);
}

static void lost(struct person *who) {
    if (who->state == GONE) return;
    if (who->state == IN) in--;
    who->state = GONE;
    gone++;
    epoll_ctl(loop, EPOLL_CTL_DEL, who->fd, NULL);
    if (phase != RUN) fail("the server closed a connection");
    if (!who->stalled) who->room->at_level[who->level % ring]--;
}

static void say_raw(struct person *who, const char *format, ...) {
    char text[512];
    va_list values;
    va_start(values, format);
    int size = vsnprintf(text, sizeof text, format, values);
    va_end(values);
    if (send_bytes(who, text, size) != size) lost(who);
}

/* Write a frame of *size* bytes with the *payload* to *to*, and return its size. */
static size_t frame(char *to, const char *payload, size_t size) {
    size_t at = 0;
    to[at++] = (char)0x81;
    if (size < 126) to[at++] = (char)(0x80 | size);
    else to[at++] = (char)(0x80 | 126), to[at++] = (char)(size >> 8), to[at++] = (char)size;
    memset(to + at, 0, 4);
    memcpy(to + at + 4, payload, size);
    return at + 4 + size;
}

/* Arriving */

static void say_hello(struct person *who) {
    char text[256], framed[sizeof text + 8];
    int size = snprintf(text, sizeof text,
                        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"hello\",\"params\":{\"protocol\":1,\"client\":\"load/1\","
                        "\"nick\":\"u%05d\",\"replay\":0,\"grace\":0}}\n", (int)(who - people) + (int)GET(first));
    if (GET(websocket)) size = frame(framed, text, size);
    if (send_bytes(who, GET(websocket) ? framed : text, size) != size) lost(who);
}

static void is_in(struct person *who) {
    who->state = IN;
    in++;
    if (who->stalled) epoll_ctl(loop, EPOLL_CTL_DEL, who->fd, NULL);
}

static void arrive(int number) {
    struct person *who = &people[number];
    int nick = number + (int)GET(first);
    int on = 1, segment = 1448, buffer = 16384;
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + number / 4000)};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(GET(port)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = number};
    who->fd = socket(AF_INET, SOCK_STREAM, 0);
    who->stalled = number >= readers;
    who->talks = number < (int)GET(senders);
    who->room = &rooms[number % (int)GET(rooms)];
    if (who->fd < 0) fail("socket");
    setsockopt(who->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(who->fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    /* As over Ethernet, and full soon: with loopback's segments and a large machine's buffers the kernel would hold
     * megabytes for who does not read. */
    if (who->stalled) setsockopt(who->fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof segment);
    if (who->stalled) setsockopt(who->fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
    if (bind(who->fd, (void *)&from, sizeof from) || connect(who->fd, (void *)&to, sizeof to)) fail("connect");
    if (GET(tls) && !start_tls(who)) fail("TLS");
    fcntl(who->fd, F_SETFL, O_NONBLOCK);
    epoll_ctl(loop, EPOLL_CTL_ADD, who->fd, &event);
    if (GET(websocket)) {
        say_raw(who, "GET /ws HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", (int)GET(port));
        return;
    }
    if (dialect == PLAIN) is_in(who);
    if (dialect == BROADCAST) say_raw(who, "u%05d\r\n", nick);
    if (dialect == IRC) say_raw(who, "NICK u%05d\r\nUSER u%05d 0 * :u\r\n", nick, nick);
    if (dialect == NATS)
        say_raw(who, "CONNECT {\"verbose\":false,\"pedantic\":false,\"echo\":false}\r\nSUB b 1\r\nPING\r\n");
    if (dialect == JSON) say_hello(who);
}

/* What has come, with the end of what came before it: answer what must be answered, see who is in. */
static void look(struct person *who, char *text, size_t size) {
    if (GET(websocket) && who->state == NEW) {
        if (memmem(text, size, "HTTP/1.1 4", 10) || memmem(text, size, "HTTP/1.1 5", 10)) fail("the handshake was refused");
        if (!memmem(text, size, "\r\n\r\n", 4)) return;
        who->state = GREETED;
        if (dialect == PLAIN) is_in(who);
        else say_hello(who);
    }
    for (char *ping = text; (ping = memmem(ping, text + size - ping, "PING", 4)); ping += 4) {
        char *end = memchr(ping, '\n', text + size - ping);
        if (!end || (ping != text && ping[-1] != '\n') || (dialect != IRC && dialect != NATS)) continue;
        if (dialect == NATS) say_raw(who, "PONG\r\n");
        else say_raw(who, "PONG%.*s", (int)(end + 1 - ping - 4), ping + 4);
    }
    if (who->state == NEW && dialect == BROADCAST && memmem(text, size, "-> Error: ", 10)) fail("a nickname was refused");
    if (who->state == JOINING && dialect == BROADCAST && memmem(text, size, " * You are in r", 15)) is_in(who);
    if (who->state == NEW && dialect == BROADCAST && memmem(text, size, " * You are ", 11)) {
        if (GET(rooms) == 1 && !GET(apart)) is_in(who);
        else {
            who->state = JOINING;
            say_raw(who, "/join r%d\r\n", (int)(who->room - rooms));
        }
    }
    if (who->state <= GREETED && dialect == JSON && memmem(text, size, "\"error\":", 8)) fail("hello was refused");
    if (who->state <= GREETED && dialect == JSON && memmem(text, size, "\"token\":", 8)) is_in(who);
    if (who->state == NEW && dialect == NATS && memmem(text, size, "PONG", 4)) is_in(who);
    if (who->state == NEW && dialect == IRC && memmem(text, size, " 001 ", 5)) {
        who->state = JOINING;
        say_raw(who, "JOIN #b\r\n");
    }
    if (who->state == JOINING && dialect == IRC && memmem(text, size, " 366 ", 5)) is_in(who);
    if (phase == LISTEN && !who->swamped && memmem(text, size, needle, strlen(needle))) { who->swamped = 1; seen++; }
}

/* Talking */

static void set_level(struct person *who, uint64_t level) {
    who->room->at_level[who->level % ring]--;
    who->room->at_level[level % ring]++;
    who->level = level;
}

static void let_out(struct person *who) {
    const char *lines = who->lines ? who->lines : many;
    while (who->owed) {
        size_t size = who->owed < AHEAD * line_size - who->into ? who->owed : AHEAD * line_size - who->into;
        ssize_t sent = send_bytes(who, lines + who->into, size);
        if (sent < 0 && errno != EAGAIN) { lost(who); return; }
        if (sent > 0) { who->owed -= sent; who->into = (who->into + sent) % (AHEAD * line_size); }
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.u32 = who - people};
        if (sent < (ssize_t)size) { epoll_ctl(loop, EPOLL_CTL_MOD, who->fd, &event); return; }
    }
}

static uint64_t mixed(uint64_t number) { /* splitmix64: no two numbers have the same result */
    number = (number ^ (number >> 30)) * 0xbf58476d1ce4e5b9ull;
    number = (number ^ (number >> 27)) * 0x94d049bb133111ebull;
    return number ^ (number >> 31);
}

/* Give the next line of *who* a uid of its own. */
static void form(struct person *who) {
    static uint64_t last;
    char uid[UID + 1];
    if (who->owed >= (AHEAD - 1) * line_size) fail("an author has too much to say");
    last++;
    snprintf(uid, sizeof uid, "%016llx%016llx", (unsigned long long)mixed(last),
             (unsigned long long)mixed(last ^ 0x9e3779b97f4a7c15ull));
    memcpy(who->lines + who->formed++ % AHEAD * line_size + uid_at, uid, UID);
}

static void say(uint64_t at) {
    struct person *who = &people[next_author];
    struct room *room = who->room;
    next_author = (next_author + 1) % (int)GET(senders);
    if (who->state == GONE) fail("an author was cut off");
    if (room->said - room->least >= ring - 1) fail("too many lines of a room are on their way");
    room->said_at[room->said++ % ring] = at;
    said++;
    if (who->lines) form(who);
    who->owed += line_size;
    if (!who->owing) { who->owing = 1; owing[owing_count++] = who - people; }
    if (!GET(echo)) { who->own++; set_level(who, who->level + 1); }
}

static void let_all_out(void) {
    for (int i = 0; i < owing_count; i++) {
        people[owing[i]].owing = 0;
        let_out(&people[owing[i]]);
    }
    owing_count = 0;
}

static void time_it(uint32_t *histogram, uint64_t began, uint64_t at) {
    if (began < timed_from || began >= timed_until) return;
    uint64_t bucket = (at - began) / 1000 / STEP;
    histogram[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
}

static void advance(struct room *room) {
    uint64_t at = timing ? mono() : 0;
    for (; room->least < room->said && !room->at_level[room->least % ring]; room->least++, least++)
        time_it(whole, room->said_at[room->least % ring], at);
}

/* Find the lines in *text*, which follows what readers have read of the stream so far. */
static void find_lines(const char *text, size_t size) {
    for (const char *at = text, *end = text + size; at < end;) {
        const char *stop = memchr(at, '\n', end - at), *next = stop ? stop + 1 : end;
        size_t more = (size_t)(next - at) < HEAD - head_size ? (size_t)(next - at) : HEAD - head_size;
        memcpy(head + head_size, at, more);
        head_size += more;
        ahead += next - at;
        if (stop) {
            if (memmem(head, head_size, "\"said\"", 6)) ends[ended++ % RING] = ahead;
            head_size = 0;
        }
        at = next;
    }
}

/* The same for the frames in *text*. */
static void find_frames(const char *text, size_t size) {
    for (const char *at = text, *end = text + size; at < end;) {
        if (!unread_size) {
            header[header_size++] = *at++;
            ahead++;
            size_t form = header_size > 1 ? header[1] & 127 : 0, whole = form == 127 ? 10 : form == 126 ? 4 : 2;
            if (header_size < whole) continue;
            unread_size = form < 126 ? form : 0;
            for (size_t i = 2; i < whole; i++) unread_size = unread_size << 8 | header[i];
            header_size = head_size = 0;
            continue;
        }
        size_t part = (size_t)(end - at) < unread_size ? (size_t)(end - at) : unread_size;
        size_t more = part < HEAD - head_size ? part : HEAD - head_size;
        memcpy(head + head_size, at, more);
        head_size += more;
        at += part;
        ahead += part;
        unread_size -= part;
        if (!unread_size && memmem(head, head_size, "\"said\"", 6)) ends[ended++ % RING] = ahead;
    }
}

/* The number of lines that *who* has. */
static uint64_t lines_of(struct person *who) {
    if (dialect != JSON) return (who->bytes - who->base) / delivery;
    uint64_t got = who->got;
    while (got < ended && ends[got % RING] <= who->bytes) got++;
    return got;
}

static void counted(struct person *who) {
    struct room *room = who->room;
    uint64_t got = lines_of(who), level = got + who->own;
    if (got == who->got) return;
    if (level > room->said) { errno = 0; fail("a reader got more than was said"); }
    if (timing && !who->talks) {
        uint64_t at = mono();
        for (uint64_t number = who->level; number < level; number++) time_it(each, room->said_at[number % ring], at);
    }
    total += got - who->got;
    who->got = got;
    set_level(who, level);
    if (!room->at_level[room->least % ring]) advance(room);
}

/* The loop */

/* The bytes of *text* that belong to deliveries, not to notices. */
static size_t without_notices(struct person *who, const char *text, size_t size) {
    size_t sum = 0;
    for (const char *at = text, *end = text + size; at < end;) {
        const char *stop = memchr(at, '\n', end - at), *next = stop ? stop + 1 : end;
        if (!who->inside) who->skipped = *at == ' ';
        if (!who->skipped) sum += next - at;
        who->inside = !stop;
        at = next;
    }
    return sum;
}

/* Read, and copy only bytes of the stream that no reader has read before. */
static void take_stream(struct person *who) {
    int first = who->bytes == ahead;
    ssize_t size = take_bytes(who, scratch, first || ahead - who->bytes > SCRATCH ? SCRATCH : ahead - who->bytes,
                              first ? 0 : MSG_TRUNC);
    if (size <= 0) { if (size == 0 || errno != EAGAIN) lost(who); return; }
    if (first) (GET(websocket) ? find_frames : find_lines)(scratch, size);
    who->bytes += size;
    counted(who);
}

static void take(struct person *who) {
    if (phase == RUN && dialect == JSON) { take_stream(who); return; }
    if (phase == RUN) {
        ssize_t size = take_bytes(who, scratch, SCRATCH, GET(notices) ? 0 : MSG_TRUNC);
        if (size > 0) { who->bytes += GET(notices) ? without_notices(who, scratch, size) : (size_t)size; counted(who); }
        else if (size == 0 || errno != EAGAIN) lost(who);
        return;
    }
    memcpy(scratch, who->carry, who->carried);
    ssize_t size = take_bytes(who, scratch + who->carried, SCRATCH, 0);
    if (size < 0 && errno == EAGAIN) return;
    if (size <= 0) { lost(who); return; }
    who->bytes += size;
    size += who->carried;
    look(who, scratch, size);
    who->carried = size < CARRY ? size : CARRY;
    memcpy(who->carry, scratch + size - who->carried, who->carried);
}

static void turn(int wait) {
    struct epoll_event events[EVENTS];
    int count = epoll_wait(loop, events, EVENTS, wait);
    for (int i = 0; i < count; i++) {
        if (events[i].data.u32 == UINT32_MAX) {
            uint64_t times;
            if (read(timer, &times, sizeof times) < 0) continue;
            continue;
        }
        if (events[i].data.u32 == UINT32_MAX - 1) {
            stopped = 1;
            epoll_ctl(loop, EPOLL_CTL_DEL, 0, NULL);
            continue;
        }
        struct person *who = &people[events[i].data.u32];
        if (events[i].events & EPOLLOUT) {
            struct epoll_event event = {.events = EPOLLIN, .data.u32 = who - people};
            epoll_ctl(loop, EPOLL_CTL_MOD, who->fd, &event);
            let_out(who);
        }
        if (who->state != GONE && events[i].events & ~EPOLLOUT) take(who);
    }
}

static void run_for(double seconds) {
    for (uint64_t end = mono() + seconds * 1e9; mono() < end;) turn(10);
}

/* Say one line of the right size with *word* in it in each room, and wait until everybody else (with echo everybody)
 * has it. In each room, the *author*-th person says it. */
static void everybody_hears(const char *word, int author) {
    int count = GET(rooms);
    char one[sizeof line];
    memcpy(one, line, line_size + 1);
    snprintf(needle, sizeof needle, "-%s-", word);
    memcpy(memmem(one, line_size, "xxxx", 4), needle, strlen(needle));
    phase = LISTEN;
    seen = 0;
    for (int i = 0; i < readers; i++) people[i].swamped = people[i].carried = 0;
    for (uint64_t again = 0; seen < readers - (GET(echo) ? 0 : count); turn(100)) {
        if (mono() < again) continue;
        for (int i = author * count; i < (author + 1) * count; i++) {
            if (uid_at) memcpy(one + uid_at, needle + 1, strlen(needle) - 2);
            if (send_bytes(&people[i], one, line_size) != (ssize_t)line_size) fail("send");
        }
        /* A server that greets nobody may have heard this before it knew all of them. */
        again = dialect == PLAIN ? mono() + 500000000 : UINT64_MAX;
    }
}

static void get_ready(void) {
    char text[4096];
    if (GET(size) < 16 || GET(size) > (dialect == IRC ? 400 : 4000)) fail("size");
    int size = GET(size) - 2, last = GET(senders) > GET(rooms) ? 1 : 0;
    memset(text, 'x', size);
    text[size] = 0;
    const char *forms[] = {"%s\r\n", "%s\r\n", "PRIVMSG #b :%s\r\n", NULL,
                           "{\"jsonrpc\":\"2.0\",\"method\":\"say\",\"params\":{\"room\":\"lobby\",\"text\":\"%s\"}}\n"};
    if (dialect == NATS) line_size = sprintf(line, "PUB b %d\r\n%s\r\n\r\n", size + 2, text);
    else line_size = sprintf(line, forms[dialect], text);
    if (GET(uid)) {
        if (dialect != JSON) fail("only lines of JSON-RPC have uids");
        line_size += sprintf(line + line_size - 3, ",\"uid\":\"%0*d\"}}\n", UID, 0) - 3;
        uid_at = line_size - 4 - UID;
    }
    if (GET(websocket)) {
        if (GET(uid) || (dialect != JSON && dialect != PLAIN)) fail("no such lines go over a WebSocket");
        char framed[sizeof line];
        line_size = frame(framed, line, line_size);
        memcpy(line, framed, line_size);
    }
    many = malloc(line_size * AHEAD);
    for (int i = 0; i < AHEAD; i++) memcpy(many + i * line_size, line, line_size);
    uint64_t started = mono();
    for (int begun = 0; in < everybody;) {
        while (begun < everybody && begun - in < (int)GET(arriving)) arrive(begun++);
        if (in < everybody || dialect != PLAIN) turn(in < everybody ? -1 : 0);
    }
    for (int i = 0; GET(uid) && i < (int)GET(senders); i++) {
        people[i].lines = malloc(line_size * AHEAD);
        memcpy(people[i].lines, many, line_size * AHEAD);
    }
    everybody_hears("first", 0);
    double seconds = (mono() - started) / 1e9;
    run_for(GET(settle));
    everybody_hears("second", last);
    run_for(0.05);
    for (int i = 0; i < readers; i++) people[i].base = people[i].bytes;
    everybody_hears("third", 0);
    run_for(0.05); /* for the end of the line */
    for (int i = 0; i < readers; i++) {
        uint64_t length = people[i].bytes - people[i].base;
        if (length) delivery = length;
    }
    for (int i = 0; i < readers; i++) {
        uint64_t length = people[i].bytes - people[i].base;
        errno = 0;
        if (length != delivery && (i >= (int)GET(rooms) || GET(echo))) fail("deliveries have different lengths");
        people[i].base = people[i].bytes;
        if (dialect == JSON) people[i].bytes = people[i].base = 0;
        people[i].room->at_level[0]++;
    }
    phase = RUN;
    tell("{\"event\": \"in\", \"people\": %d, \"seconds\": %.4f, \"delivery_bytes\": %zu}", in, seconds, delivery);
}

static double quantile(uint32_t *histogram, double share) {
    uint64_t count = 0, upto = 0;
    for (int i = 0; i < BUCKETS; i++) count += histogram[i];
    for (int i = 0; i < BUCKETS && count; i++)
        if ((upto += histogram[i]) >= share * count) return (i + 0.5) * STEP / 1000;
    return -1;
}

/* What the kernel holds on both sides for those who never read; for the others, next to nothing. */
static double unread(void) {
    double sum = 0;
    char row[512];
    for (int i = readers, bytes; i < everybody; i++)
        if (!ioctl(people[i].fd, FIONREAD, &bytes)) sum += bytes;
    FILE *table = everybody > readers ? fopen("/proc/net/tcp", "r") : NULL;
    while (table && fgets(row, sizeof row, table)) {
        unsigned port, state, unsent;
        if (sscanf(row, " %*u: %*x:%x %*x:%*x %x %x:", &port, &state, &unsent) == 3 && port == GET(port) && state == 1)
            sum += unsent;
    }
    if (table) fclose(table);
    return sum;
}

static void closed_loop(uint64_t lines, uint64_t until) {
    uint64_t mark = GET(lines) && GET(mark) ? GET(mark) : UINT64_MAX, next = mark;
    for (uint64_t end = said + lines; !stopped && mono() < until && (least < end || lines == UINT64_MAX);) {
        uint64_t at = mono();
        while (said - least < GET(window) && (lines == UINT64_MAX || said < end)) say(at);
        let_all_out();
        turn(100);
        for (; lines != UINT64_MAX && least >= next; next += mark)
            tell("{\"event\": \"mark\", \"lines\": %llu}", (unsigned long long)next);
    }
}

static void open_loop(uint64_t until) {
    static uint64_t due;
    uint64_t apart = 1e9 / GET(rate), at;
    if (!due) due = mono();
    while (!stopped && (at = mono()) < until) {
        for (; due <= at && due < until; due += apart) {
            say(due);
        }
        struct itimerspec when = {.it_value = {due / 1000000000, due % 1000000000}};
        timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
        let_all_out();
        turn(100);
    }
}

static void go(double seconds) {
    uint64_t until = mono() + seconds * 1e9;
    if (GET(rate)) open_loop(until);
    else closed_loop(UINT64_MAX, until);
}

static void measure(void) {
    clockid_t server = CLOCK_MONOTONIC;
    if (GET(pid) && (errno = clock_getcpuclockid(GET(pid), &server))) fail("the server's CPU clock");
    double rate = GET(rate), window = GET(window);
    if (GET(fill)) {
        GET(rate) = 0, GET(window) = 512;
        closed_loop(GET(fill), UINT64_MAX);
        GET(rate) = rate, GET(window) = window;
    }
    /* Reading these tables takes a while: not while anything is timed. */
    uint64_t said_before = said;
    double full = unread();
    if (GET(warm) && !GET(lines)) go(GET(warm));
    each = calloc(BUCKETS, sizeof *each), whole = calloc(BUCKETS, sizeof *whole);
    if (GET(stop)) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = UINT32_MAX - 1};
        epoll_ctl(loop, EPOLL_CTL_ADD, 0, &event);
        tell("{\"event\": \"begin\"}");
    }
    uint64_t began = mono(), own = now(CLOCK_PROCESS_CPUTIME_ID), theirs = now(server), before = total;
    uint64_t lines = least;
    timing = 1, timed_from = began, timed_until = UINT64_MAX;
    if (GET(lines)) closed_loop(GET(lines), UINT64_MAX);
    else go(GET(seconds));
    double seconds = (mono() - began) / 1e9, cpu = (now(CLOCK_PROCESS_CPUTIME_ID) - own) / 1e9;
    double server_cpu = GET(pid) ? (now(server) - theirs) / 1e9 : -1;
    uint64_t deliveries = total - before;
    lines = least - lines;
    timed_until = mono();
    for (uint64_t end = mono() + 10000000000ull; least < said && mono() < end;) { let_all_out(); turn(100); }
    full = unread() - full;
    if (GET(stalled)) full /= (double)(said - said_before) * delivery * GET(stalled);
    if (full < 0) full = 0; /* what was on its way to the others at first */
    int exact = !gone;
    for (int i = 0; i < readers; i++)
        exact &= dialect == JSON ? people[i].bytes == ahead && ended == said
                                 : people[i].bytes - people[i].base == (people[i].room->said - people[i].own) * delivery;
    tell("{\"event\": \"end\", \"deliveries\": %llu, \"lines\": %llu, \"seconds\": %.6f, \"server_cpu\": %.6f, "
         "\"load_cpu\": %.6f, \"p50\": %.3f, \"p99\": %.3f, \"worst\": %.3f, \"p99_last\": %.3f, \"exact\": %s, "
         "\"gone\": %d, \"stalled_took\": %.4f}",
         (unsigned long long)deliveries, (unsigned long long)lines, seconds, server_cpu, cpu, quantile(each, 0.5),
         quantile(each, 0.99), quantile(each, 1), quantile(whole, 0.99), exact ? "true" : "false", gone, full);
}

/* Visitors */

static void visit(struct person *who) {
    int on = 1;
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 256 + (who - people))};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(GET(port)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = who - people};
    char name[32];
    int size = snprintf(name, sizeof name, "v%llu\r\n", (unsigned long long)said++);
    who->fd = socket(AF_INET, SOCK_STREAM, 0);
    who->state = NEW;
    who->carried = 0;
    if (who->fd < 0) fail("socket");
    setsockopt(who->fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    setsockopt(who->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (bind(who->fd, (void *)&from, sizeof from) || connect(who->fd, (void *)&to, sizeof to)) fail("connect");
    fcntl(who->fd, F_SETFL, O_NONBLOCK);
    epoll_ctl(loop, EPOLL_CTL_ADD, who->fd, &event);
    if (send(who->fd, name, size, MSG_NOSIGNAL) != size) fail("send");
}

/* What a visitor reads: once it has joined it quits, or resets the connection; after the end it comes again. */
static void follow(struct person *who) {
    struct linger at_once = {.l_onoff = 1};
    memcpy(scratch, who->carry, who->carried);
    ssize_t size = recv(who->fd, scratch + who->carried, SCRATCH, 0);
    if (size < 0 && errno == EAGAIN) return;
    if (size > 0) {
        size += who->carried;
        if (who->state == NEW && memmem(scratch, size, " * You are ", 11)) {
            who->state = IN;
            total++;
            if (!GET(reset)) { if (send(who->fd, "quit\r\n", 6, MSG_NOSIGNAL) < 0) gone++; }
            else setsockopt(who->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), size = 0;
        }
        who->carried = size < CARRY ? size : CARRY;
        memcpy(who->carry, scratch + size - who->carried, who->carried);
    }
    if (size > 0) return;
    if (who->state == NEW) gone++;
    close(who->fd);
    visit(who);
}

static void come_and_go(void) {
    struct epoll_event events[EVENTS];
    uint64_t began = mono();
    for (int i = 0; i < GET(visitors); i++) visit(&people[i]);
    tell("{\"event\": \"in\", \"people\": %d, \"seconds\": 0, \"delivery_bytes\": 0}", (int)GET(visitors));
    for (uint64_t until = mono() + GET(seconds) * 1e9; mono() < until;)
        for (int i = 0, count = epoll_wait(loop, events, EVENTS, 100); i < count; i++)
            if (events[i].data.u32 != UINT32_MAX) follow(&people[events[i].data.u32]);
    tell("{\"event\": \"visits\", \"count\": %llu, \"seconds\": %.6f, \"load_cpu\": %.6f, \"refused\": %d}",
         (unsigned long long)total, (mono() - began) / 1e9, now(CLOCK_PROCESS_CPUTIME_ID) / 1e9, gone);
}

static void wait_for_word(void) {
    char word[16];
    if (!fgets(word, sizeof word, stdin)) exit(0);
}

int main(int argc, char **argv) {
    struct rlimit files;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGALRM, out_of_time);
    for (int i = 1; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        int known = 0;
        if (!value) { fprintf(stderr, "load: %s is not KEY=VALUE\n", argv[i]); return 2; }
        *value++ = 0;
        const char *names[] = {"plain", "broadcast", "irc", "nats", "json"};
        for (int j = 0; j < 5 && !strcmp(argv[i], "dialect"); j++)
            if (!strcmp(value, names[j])) dialect = j, known = 1;
        for (size_t j = 0; j < sizeof settings / sizeof *settings; j++)
            if (!strcmp(argv[i], settings[j].name)) settings[j].value = atof(value), known = 1;
        if (!known) { fprintf(stderr, "load: unknown: %s=%s\n", argv[i], value); return 2; }
    }
    alarm(GET(limit));
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    readers = GET(people);
    everybody = readers + GET(stalled);
    if (GET(visitors)) everybody = GET(visitors);
    people = calloc(everybody, sizeof *people);
    owing = calloc(everybody, sizeof *owing);
    rooms = calloc(GET(rooms), sizeof *rooms);
    ring = GET(rooms) == 1 ? RING : ROOM_RING;
    for (int i = 0; i < (int)GET(rooms); i++) {
        rooms[i].said_at = calloc(ring, sizeof *rooms[i].said_at);
        rooms[i].at_level = calloc(ring, sizeof *rooms[i].at_level);
    }
    if (dialect == JSON) GET(echo) = 1;
    loop = epoll_create1(0);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = UINT32_MAX};
    epoll_ctl(loop, EPOLL_CTL_ADD, timer, &event);
    if (GET(visitors)) { come_and_go(); return 0; }
    get_ready();
    if (GET(hold)) wait_for_word();
    if (GET(seconds) || GET(lines)) measure();
    if (GET(hold) && GET(lines)) wait_for_word();
    return 0;
}
