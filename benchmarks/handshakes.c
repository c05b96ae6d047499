/* Many TLS clients that connect at the same time, with one thread and epoll.
 *
 *     handshakes port=PORT clients=NUMBER
 *
 * It says {"event": "in"} and waits for a line on stdin. Then NUMBER connections to 127.0.0.1 begin at once. When all
 * handshakes are complete and each client has received the first bytes of the server, it says how long that took. The
 * clients check no certificate. They stay connected until the end of stdin.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

struct client { SSL *tls; int fd, done; };

static double now(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void fail(const char *why) {
    printf("{\"event\": \"failed\", \"why\": \"%s\"}\n", why);
    exit(1);
}

/* Continue the handshake, then read. Return whether the server's first bytes have come. */
static int step(struct client *client) {
    char text[4096];
    int result = SSL_is_init_finished(client->tls) ? 1 : SSL_connect(client->tls);
    if (result == 1) result = SSL_read(client->tls, text, sizeof text);
    if (result > 0) return 1;
    int error = SSL_get_error(client->tls, result);
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) fail("a handshake failed");
    return 0;
}

int main(int argc, char **argv) {
    char word[16];
    struct rlimit files;
    int port = 0, count = 0;
    for (int i = 1; i < argc; i++) {
        sscanf(argv[i], "port=%d", &port);
        sscanf(argv[i], "clients=%d", &count);
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(120);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    int left = count, loop = epoll_create1(0), on = 1;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct client *clients = calloc(count, sizeof *clients);
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    for (int i = 0; i < count; i++) {
        clients[i].tls = SSL_new(context);
        clients[i].fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (clients[i].fd < 0) fail("socket");
        setsockopt(clients[i].fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        SSL_set_fd(clients[i].tls, clients[i].fd);
        SSL_set_connect_state(clients[i].tls);
    }
    printf("{\"event\": \"in\"}\n");
    fflush(stdout);
    if (!fgets(word, sizeof word, stdin)) return 0;
    double began = now(CLOCK_MONOTONIC), cpu = now(CLOCK_PROCESS_CPUTIME_ID);
    for (int i = 0; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.u32 = i};
        if (connect(clients[i].fd, (void *)&to, sizeof to) && errno != EINPROGRESS) fail("connect");
        epoll_ctl(loop, EPOLL_CTL_ADD, clients[i].fd, &event);
    }
    while (left) {
        struct epoll_event events[256];
        for (int i = 0, ready = epoll_wait(loop, events, 256, -1); i < ready; i++) {
            struct client *client = &clients[events[i].data.u32];
            if (!client->done && step(client)) client->done = 1, left--;
        }
    }
    printf("{\"event\": \"done\", \"seconds\": %.4f, \"load_cpu\": %.4f}\n", now(CLOCK_MONOTONIC) - began,
           now(CLOCK_PROCESS_CPUTIME_ID) - cpu);
    fflush(stdout);
    while (fgets(word, sizeof word, stdin)) continue;
    return 0;
}
