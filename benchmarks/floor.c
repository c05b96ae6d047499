/* The floor: fan-out and nothing else. What a line costs here, it costs everywhere.
 *
 * One epoll loop, one shared log, a cursor for each client. No nicknames, no history on disk, no text rules. What a
 * client sends is appended to the log, line by line; at the end of a turn every client gets all that is new for them
 * with one send, straight from the log. An author gets their own lines too: a cursor needs no exceptions. A client
 * who lags by more than the log holds is closed.
 *
 *     floor PORT SECONDS        listens on 127.0.0.1, ends after SECONDS or with whoever started it
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LOG = 1 << 22, CHUNK = 1 << 16, LINE = 4096, CLIENTS = 1 << 17, EVENTS = 1024 };

struct client {
    uint64_t cursor; /* how much of all that was ever said they were sent */
    int open, full, held;
    char *line; /* the beginning of a line whose end has not come yet */
};

static char text[LOG];     /* the last LOG bytes that were said */
static uint64_t said;      /* bytes that were ever said */
static struct client clients[CLIENTS];
static int top;            /* above every open file descriptor */
static int loop;

static void watch(int fd, int how, uint32_t events) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(loop, how, fd, &event) < 0) perror("epoll_ctl");
}

static void shut(int fd) {
    free(clients[fd].line);
    clients[fd] = (struct client){0};
    close(fd);
}

static void append(const char *data, size_t size) {
    size_t at = said % LOG, first = size < LOG - at ? size : LOG - at;
    memcpy(text + at, data, first);
    memcpy(text, data + first, size - first);
    said += size;
}

static void take(int fd) {
    static char chunk[CHUNK];
    struct client *client = &clients[fd];
    ssize_t size = recv(fd, chunk, sizeof chunk, 0);
    if (size < 0 && errno == EAGAIN) return;
    if (size <= 0) { shut(fd); return; }
    char *end = memrchr(chunk, '\n', size);
    size_t whole = end ? end - chunk + 1 : 0, rest = size - whole;
    if (whole) {
        append(client->line, client->held);
        append(chunk, whole);
        client->held = 0;
    }
    if (client->held + rest > LINE) { shut(fd); return; }
    if (rest && !client->line) client->line = malloc(LINE);
    if (rest) memcpy(client->line + client->held, chunk + whole, rest);
    client->held += rest;
}

static void give(int fd) {
    struct client *client = &clients[fd];
    if (said - client->cursor > LOG) { shut(fd); return; }
    while (client->cursor < said) {
        size_t at = client->cursor % LOG, size = said - client->cursor;
        if (size > LOG - at) size = LOG - at;
        ssize_t sent = send(fd, text + at, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) { shut(fd); return; }
        if (sent > 0) client->cursor += sent;
        if (sent < (ssize_t)size) {
            if (!client->full) watch(fd, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            client->full = 1;
            return;
        }
    }
    if (client->full) watch(fd, EPOLL_CTL_MOD, EPOLLIN);
    client->full = 0;
}

int main(int argc, char **argv) {
    int port = argc > 1 ? atoi(argv[1]) : 0, on = 1;
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct rlimit files;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(argc > 2 ? atoi(argv[2]) : 600);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (void *)&here, sizeof here) || listen(listener, 4096)) { perror("floor"); return 1; }
    loop = epoll_create1(0);
    watch(listener, EPOLL_CTL_ADD, EPOLLIN);
    for (;;) {
        struct epoll_event events[EVENTS];
        uint64_t before = said;
        int count = epoll_wait(loop, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    if (fd >= CLIENTS) { close(fd); continue; }
                    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                    clients[fd] = (struct client){.cursor = said, .open = 1};
                    if (fd >= top) top = fd + 1;
                    watch(fd, EPOLL_CTL_ADD, EPOLLIN);
                }
            } else if (clients[fd].open) {
                if (events[i].events & EPOLLOUT) give(fd);
                if (clients[fd].open && events[i].events & ~EPOLLOUT) take(fd);
            }
        }
        if (said != before)
            for (int fd = 0; fd < top; fd++)
                if (clients[fd].open && !clients[fd].full) give(fd);
    }
}
