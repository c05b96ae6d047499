/* Programs that lose their connections all at once, and resume their sessions.
 *
 *     programs KEY=VALUE ...       `settings` below has the keys
 *
 * Each program says hello (JSON-RPC) and joins the room `room`. So does a speaker, which keeps its connection. The
 * process reports the event "in" and waits for a line on stdin. Then it resets the connections of all programs at once.
 * Each program comes back as the client library does: after a random delay of up to 1 s, and after a failure of up to
 * 2, 4 ... 30 s. It resumes its session with its token. Meanwhile the speaker says `rate` lines a second, until all
 * programs are back. Each program must receive each line of the room exactly once, in order.
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
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 1024, CHUNK = 1 << 18, WORD = 128, ARRIVING = 64 };

static struct setting { const char *name; double value; const char *meaning; } settings[] = {
#define SETTINGS(X)                                                                                                   \
    X(port, 0, "of the server, on 127.0.0.1")                                                                         \
    X(pid, 0, "the server's process, whose CPU time is read; 0: none")                                                \
    X(programs, 10, "connections that are reset")                                                                     \
    X(rate, 20, "lines a second that the speaker says until all are back")                                            \
    X(first, 1, "longest delay before the first attempt to come back, in seconds")                                    \
    X(longest, 30, "longest delay before any other attempt, in seconds")                                              \
    X(limit, 120, "seconds after which it ends whatever happens")
#define ENTRY(name, value, meaning) {#name, value, meaning},
    SETTINGS(ENTRY)
#define NUMBER(name, value, meaning) N_##name,
};
enum { SETTINGS(NUMBER) };
#define GET(name) (settings[N_##name].value)

enum state { AWAY, CONNECTING, GREETING, IN };
struct program {
    int fd;
    enum state state;
    uint64_t due;                      /* when the next attempt begins, ns */
    int failures, attempt;
    char *text;                        /* the line that has not ended */
    size_t size, room;                 /* its length, and the room for it */
    uint64_t seq;                      /* number of the last line received */
    char token[WORD], journal[WORD];
};

static struct program *programs; /* the last one is the speaker */
static int count, in, loop, resetting, attempts, not_resumed, gaps, wrong;
static const char *room = "programs";
static char chunk[CHUNK];

static uint64_t now(clockid_t clock) {
    struct timespec time;
    return clock_gettime(clock, &time) ? 0 : time.tv_sec * 1000000000ull + time.tv_nsec;
}
static uint64_t mono(void) { return now(CLOCK_MONOTONIC); }

static void fail(const char *why, const char *details) {
    char text[200] = "";
    for (size_t i = 0; details[i] && i + 1 < sizeof text; i++) text[i] = details[i] == '"' ? '\'' : details[i];
    printf("{\"event\": \"failed\", \"why\": \"%s\", \"details\": \"%s\", \"in\": %d, \"of\": %d}\n", why, text, in, count);
    fflush(stdout);
    exit(1);
}

static void out_of_time(int number) {
    (void)number;
    static const char late[] = "{\"event\": \"failed\", \"why\": \"the time limit of the load generator\"}\n";
    if (write(1, late, sizeof late - 1) < 0) _exit(3);
    _exit(2);
}

/* Attempts */

static void begin(struct program *who) {
    int on = 1, number = who - programs;
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + number / 4000)};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(GET(port)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event = {.events = EPOLLOUT, .data.u32 = number};
    who->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (who->fd < 0) fail("socket", strerror(errno));
    setsockopt(who->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(who->fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(who->fd, (void *)&from, sizeof from)) fail("bind", strerror(errno));
    if (connect(who->fd, (void *)&to, sizeof to) && errno != EINPROGRESS) fail("connect", strerror(errno));
    epoll_ctl(loop, EPOLL_CTL_ADD, who->fd, &event);
    who->state = CONNECTING;
    who->size = 0;
    attempts += resetting;
}

static void try_again(struct program *who) {
    double longest = GET(first);
    if (!resetting || who == programs + count) fail("the server closed a connection", "");
    close(who->fd);
    in -= who->state == IN;
    for (int i = 0; i < who->failures && longest < GET(longest); i++) longest *= 2;
    if (longest > GET(longest)) longest = GET(longest);
    who->failures++;
    who->state = AWAY;
    who->due = mono() + drand48() * longest * 1e9;
}

static void say_hello(struct program *who) {
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = who - programs};
    char text[1024];
    int size = sprintf(text, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"hello\",\"params\":{\"protocol\":1,\"client\":\"programs/1\","
                             "\"nick\":\"p%05d\",\"rooms\":[\"%s\"],\"replay\":0", (int)(who - programs), room);
    if (*who->token)
        size += sprintf(text + size, ",\"resume\":{\"token\":\"%s\",\"journal\":\"%s\",\"rooms\":{\"%s\":%llu},"
                                     "\"told\":0,\"attempt\":%d}", who->token, who->journal, room,
                        (unsigned long long)who->seq, ++who->attempt);
    size += sprintf(text + size, "}}\n");
    epoll_ctl(loop, EPOLL_CTL_MOD, who->fd, &event);
    who->state = GREETING;
    if (send(who->fd, text, size, MSG_NOSIGNAL) != size) try_again(who);
}

/* What arrives */

static void copy_word(const char *line, size_t size, const char *name, char *word) {
    const char *from = memmem(line, size, name, strlen(name)), *to;
    if (!from) fail("hello has no", name + 1);
    from += strlen(name);
    to = memchr(from, '"', line + size - from);
    if (!to || to - from >= WORD) fail("too long", name + 1);
    memcpy(word, from, to - from);
    word[to - from] = 0;
}

static void read_line(struct program *who, const char *line, size_t size) {
    if (*line != '{') return; /* the greeting for people */
    if (memmem(line, size, "\"method\":\"gap\"", 14)) gaps++;
    for (const char *at = line; *who->token && (at = memmem(at, line + size - at, "\"method\":\"said\"", 15)); at++) {
        const char *number = memmem(at, line + size - at, "\"seq\":", 6);
        if (!number) fail("a line has no number", at);
        wrong += strtoull(number + 6, NULL, 10) != ++who->seq;
    }
    if (who->state != GREETING || memmem(line, size < 64 ? size : 64, "\"method\"", 8)) return;
    if (!memmem(line, size, "\"result\":", 9)) fail("hello was refused", line);
    if (*who->token && !memmem(line, size, "\"resumed\":true", 14)) not_resumed++;
    const char *last = memmem(line, size, "\"last\":", 7);
    if (!*who->token && last) who->seq = strtoull(last + 7, NULL, 10);
    copy_word(line, size, "\"token\":\"", who->token);
    copy_word(line, size, "\"journal\":\"", who->journal);
    who->state = IN;
    in++;
}

static void take(struct program *who) {
    ssize_t size = recv(who->fd, chunk, CHUNK, 0);
    if (size < 0 && errno == EAGAIN) return;
    if (size <= 0) { try_again(who); return; }
    if (who->size + size + 1 > who->room) {
        who->room = 2 * (who->size + size + 1);
        if (!(who->text = realloc(who->text, who->room))) fail("memory", "");
    }
    memcpy(who->text + who->size, chunk, size);
    who->size += size;
    char *at = who->text, *end = who->text + who->size, *stop;
    for (; (stop = memchr(at, '\n', end - at)); at = stop + 1) {
        *stop = 0;
        read_line(who, at, stop - at);
    }
    who->size = end - at;
    memmove(who->text, at, who->size);
    if (!who->size) { free(who->text); who->text = NULL; who->room = 0; }
}

static void turn(int wait) {
    struct epoll_event events[EVENTS];
    int ready = epoll_wait(loop, events, EVENTS, wait);
    for (int i = 0; i < ready; i++) {
        struct program *who = &programs[events[i].data.u32];
        if (who->state == CONNECTING && events[i].events & (EPOLLERR | EPOLLHUP)) try_again(who);
        else if (who->state == CONNECTING) say_hello(who);
        else if (who->state != AWAY) take(who);
    }
}

static void reset_all(void) {
    struct linger at_once = {.l_onoff = 1};
    resetting = 1;
    for (int i = 0; i < count; i++) {
        setsockopt(programs[i].fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        try_again(&programs[i]);
    }
}

static int compare(const void *one, const void *other) {
    double difference = *(const double *)one - *(const double *)other;
    return (difference > 0) - (difference < 0);
}

int main(int argc, char **argv) {
    struct rlimit files;
    char word[16], line[300];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGALRM, out_of_time);
    srand48(1);
    for (int i = 1; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        int known = 0;
        if (!value) { fprintf(stderr, "programs: %s is not KEY=VALUE\n", argv[i]); return 2; }
        *value++ = 0;
        if (!strcmp(argv[i], "room")) room = value, known = 1;
        for (size_t j = 0; j < sizeof settings / sizeof *settings; j++)
            if (!strcmp(argv[i], settings[j].name)) settings[j].value = atof(value), known = 1;
        if (!known) { fprintf(stderr, "programs: unknown: %s=%s\n", argv[i], value); return 2; }
    }
    alarm(GET(limit));
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    count = GET(programs);
    programs = calloc(count + 1, sizeof *programs);
    loop = epoll_create1(0);
    for (int begun = 0; in <= count;) {
        while (begun <= count && begun - in < ARRIVING) begin(&programs[begun++]);
        turn(-1);
    }
    printf("{\"event\": \"in\", \"people\": %d}\n", count);
    fflush(stdout);
    if (!fgets(word, sizeof word, stdin)) return 0;

    struct program *speaker = &programs[count];
    int size = sprintf(line, "{\"jsonrpc\":\"2.0\",\"method\":\"say\",\"params\":{\"room\":\"%s\",\"text\":\"%064d\"}}\n", room, 0);
    double *seconds = calloc(count, sizeof *seconds);
    char *back = calloc(count, 1);
    clockid_t server = CLOCK_MONOTONIC;
    if (GET(pid) && (errno = clock_getcpuclockid(GET(pid), &server))) fail("the server's CPU clock", strerror(errno));
    uint64_t own = now(CLOCK_PROCESS_CPUTIME_ID), theirs = now(server), began = mono(), said = 0;
    reset_all();
    for (int known = 0; known < count;) {
        uint64_t at = mono();
        for (; said < (at - began) / 1e9 * GET(rate); said++)
            if (send(speaker->fd, line, size, MSG_NOSIGNAL) != size) fail("send", strerror(errno));
        for (int i = 0; i < count; i++)
            if (programs[i].state == AWAY && programs[i].due <= at) begin(&programs[i]);
        turn(1);
        at = mono();
        for (int i = 0; i < count; i++)
            if (programs[i].state == IN && !back[i]) seconds[known++] = (at - began) / 1e9, back[i] = 1;
    }
    double load_cpu = (now(CLOCK_PROCESS_CPUTIME_ID) - own) / 1e9, last = seconds[count - 1];
    double server_cpu = GET(pid) ? (now(server) - theirs) / 1e9 : -1;
    qsort(seconds, count, sizeof *seconds, compare);
    int late = count;
    for (uint64_t end = mono() + 10000000000ull; late && mono() < end; turn(100)) {
        late = 0;
        for (int i = 0; i < count; i++) late += programs[i].seq != speaker->seq;
    }
    printf("{\"event\": \"back\", \"seconds\": %.6f, \"median\": %.6f, \"attempts\": %d, \"not_resumed\": %d, "
           "\"gaps\": %d, \"wrong\": %d, \"late\": %d, \"load_cpu\": %.6f, \"server_cpu\": %.6f}\n", last,
           seconds[count / 2], attempts, not_resumed, gaps, wrong, late, load_cpu, server_cpu);
    return 0;
}
