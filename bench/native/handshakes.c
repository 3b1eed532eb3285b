/* Makes TLS handshakes with one server and nothing else: no request is sent, the connection is closed at once, in order.
 *
 *     handshakes PORT SECONDS 1.2|1.3 full|resumed
 *
 * CONNECTIONS threads, each with one connection at a time, so that the server always has some to do. "resumed" first
 * gets a session by a request of its own, with which every later handshake begins. Prints how many were made and
 * how many failed; one that should have been resumed and was not has failed.
 */
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS = 16 };

static const char REQUEST[] = "GET /o/0.bin HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

static SSL_CTX *context;
static SSL_SESSION *session; /* the last one given, while there is no crowd yet */
static struct sockaddr_in server = {.sin_family = AF_INET};
static double until;
static int resumed;
static atomic_long made, failed;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

static int keep_session(SSL *ssl, SSL_SESSION *given)
{
    (void)ssl;
    SSL_SESSION_free(session);
    session = given;
    return 1; /* it is ours now */
}

/* Sends REQUEST when `asking`, and reads all that comes. 0 when all is well. */
static int connect_once(SSL_SESSION *with, int asking)
{
    char said[4096];
    int bad = 1, sock = socket(AF_INET, SOCK_STREAM, 0);
    SSL *ssl = SSL_new(context);

    SSL_set_fd(ssl, sock);
    SSL_set_tlsext_host_name(ssl, "localhost");
    if (with != NULL)
        SSL_set_session(ssl, with);
    if (!connect(sock, (struct sockaddr *)&server, sizeof server) && SSL_connect(ssl) == 1) {
        bad = SSL_session_reused(ssl) != (with != NULL);
        if (asking) {
            SSL_write(ssl, REQUEST, sizeof REQUEST - 1);
            while (SSL_read(ssl, said, sizeof said) > 0)
                ;
        }
        SSL_shutdown(ssl);
        while (recv(sock, said, sizeof said, 0) > 0)
            ; /* until the server is done with it, too: what it does late counts as well */
    }
    ERR_clear_error();
    SSL_free(ssl);
    close(sock);
    return bad;
}

static void *shake_hands(void *unused)
{
    while (now() < until) {
        /* A copy each time: OpenSSL marks a session as spent when the server gives another. */
        SSL_SESSION *own = resumed ? SSL_SESSION_dup(session) : NULL;

        if (connect_once(own, 0))
            failed++;
        else
            made++;
        SSL_SESSION_free(own);
    }
    return unused;
}

int main(int count, char **given)
{
    pthread_t threads[CONNECTIONS];
    int version;

    if (count != 5)
        return 2;
    signal(SIGPIPE, SIG_IGN);
    server.sin_port = htons(atoi(given[1]));
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    version = strcmp(given[3], "1.2") ? TLS1_3_VERSION : TLS1_2_VERSION;
    resumed = !strcmp(given[4], "resumed");
    context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(context, version);
    SSL_CTX_set_max_proto_version(context, version);
    if (resumed) {
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(context, keep_session);
        if (connect_once(NULL, 1) || session == NULL) {
            fprintf(stderr, "the server gave no session\n");
            return 1;
        }
        SSL_CTX_sess_set_new_cb(context, NULL);
    }
    until = now() + atof(given[2]);
    for (int at = 0; at < CONNECTIONS; at++)
        if (pthread_create(&threads[at], NULL, shake_hands, NULL))
            abort();
    for (int at = 0; at < CONNECTIONS; at++)
        pthread_join(threads[at], NULL);
    printf("%ld made, %ld failed\n", made, failed);
    return 0;
}
