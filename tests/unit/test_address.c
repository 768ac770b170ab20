/* SPDX-License-Identifier: Apache-2.0 */
#include "qmp/peer.h"
#include "tests/unit/client_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- Addresses ---- */

static void refused(const char *text, int detail, const char *why, const char *hint)
{
	struct qmp_address address;
	struct qmpsnap_error err;

	ck_assert(qmp_address_parse(text, &address, &err));
	ck_assert_ptr_null(qmp_open(&loop, &address, NULL, on_ready, on_lost, NULL, &err));
	last_err = err;
	expect_error(QMPSNAP_REFUSED, why, hint);
	ck_assert_int_eq(err.detail, detail);
	ck_assert_ptr_nonnull(strstr(err.message, address.text));
}

START_TEST(parses)
{
	static const char *const bad[] = {"", "unix:", "monitor", "fd:", "fd:x", "fd:-1", "fd:1x",
		"fd:99999999999", "tcp:", "tcp:host", "tcp::1", "tcp:host:", "tcp:host:1",
		"tcp:127.0.0.1:0", "tcp:127.0.0.1:65536", "tcp:127.0.0.1:x", "tcp:127.0.0.1:-1",
		"tcp:::1:4444", "tcp:[127.0.0.1]:4444", "tcp:[::1:4444", "tcp:[]:4444"};
	struct qmp_address address;
	struct qmpsnap_error err;
	char path[200];

	ck_assert(qmp_address_parse("unix:a", &address, &err));
	ck_assert_int_eq(address.kind, QMP_UNIX);
	ck_assert_str_eq(address.path, "a");
	ck_assert(qmp_address_parse("./a", &address, &err));
	ck_assert_str_eq(address.text, "unix:./a");
	ck_assert(qmp_address_parse("fd:17", &address, &err));
	ck_assert_int_eq(address.kind, QMP_FD);
	ck_assert_int_eq(address.fd, 17);
	ck_assert_str_eq(address.text, "fd:17");
	ck_assert(qmp_address_parse("tcp:[::1]:4444", &address, &err));
	ck_assert_int_eq(address.kind, QMP_TCP);
	ck_assert_int_eq(address.name.ss_family, AF_INET6);
	ck_assert(qmp_address_parse("tcp:localhost:65535", &address, &err));
	const struct sockaddr_in *in = (const void *)&address.name;
	ck_assert_int_eq(in->sin_family, AF_INET);
	ck_assert_uint_eq(ntohl(in->sin_addr.s_addr), INADDR_LOOPBACK);
	ck_assert_uint_eq(ntohs(in->sin_port), 65535);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ck_assert_msg(!qmp_address_parse(bad[i], &address, &err), "%s", bad[i]);
		ck_assert_int_eq(err.code, QMPSNAP_USAGE);
	}
	memset(path, '/', sizeof(path));
	path[108] = '\0';
	ck_assert(!qmp_address_parse(path, &address, &err));
	ck_assert_ptr_nonnull(strstr(err.message, "at most 107 bytes"));
	path[107] = '\0';
	ck_assert(qmp_address_parse(path, &address, &err));
}
END_TEST

START_TEST(each_failure_has_its_sentence)
{
	char folder[] = "/tmp/test-client-XXXXXX";
	char path[64];
	char text[80];
	int fd;

	ck_assert_ptr_nonnull(mkdtemp(folder));
	(void)snprintf(path, sizeof(path), "%s/qmp", folder);
	(void)snprintf(text, sizeof(text), "unix:%s", path);
	refused(text, ENOENT, "no such socket", "-qmp unix:/tmp/test-client-");
	fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	refused(text, ENOTSOCK, "not a socket", "-qmp");
	(void)snprintf(path, sizeof(path), "fd:%d", fd);
	refused(path, 0, "not a unix stream socket", "descriptors");
	ck_assert_int_eq(close(fd), 0);
	refused(path, EBADF, "no usable descriptor", "");
	ck_assert_int_eq(unlink(text + 5), 0);
	ck_assert_int_eq(rmdir(folder), 0);
}
END_TEST

START_TEST(dead_socket_and_full_queue)
{
	struct qmp_client *waiting[3];
	struct qmp_address address;
	struct qmpsnap_error err;
	char path[sizeof(fake->address) + 8];

	open_script(NULL);
	ck_assert(qmp_address_parse(fake->address, &address, &err));
	for (int i = 0; i < 2; i++) {
		waiting[i] = qmp_open(&loop, &address, NULL, NULL, NULL, NULL, &err);
		ck_assert_ptr_nonnull(waiting[i]);
	}
	refused(fake->address, EAGAIN, "more clients are waiting", "second -qmp socket");
	qmp_close(waiting[0], NULL, NULL);
	qmp_close(waiting[1], NULL, NULL);

	/* The name stays when its maker dies. */
	(void)snprintf(path, sizeof(path), "%s-dead", fake->path);
	ck_assert_int_eq(rename(fake->path, path), 0);
	(void)snprintf(path, sizeof(path), "%s-dead", fake->address);
	fake_qmp_free(fake);
	refused(path, ECONNREFUSED, "nobody listens", "has ended");
	ck_assert_int_eq(unlink(path + 5), 0);
	*strrchr(path, '/') = '\0';
	ck_assert_int_eq(rmdir(path + 5), 0);
	qmp_close(client, on_closed, NULL);
	until("closed");
}
END_TEST

/* In a child that is no longer root, which needs no permission. */
START_TEST(no_permission)
{
	open_script(NULL);
	ck_assert_int_eq(chmod(fake->path, 0), 0);
	if (geteuid() == 0)
		ck_assert_int_eq(seteuid(65534), 0);
	refused(fake->address, EACCES, "no permission", "as root");
	if (getuid() == 0)
		ck_assert_int_eq(seteuid(0), 0);
	finish();
}
END_TEST

START_TEST(by_descriptor)
{
	struct fake_options options = {.fd = 0};
	char text[32];
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	options.fd = fds[1];
	fake = fake_qmp_new(&loop, &options);
	fake_qmp_raw(fake, "{\"QMP\": {}}\n", 12);
	(void)snprintf(text, sizeof(text), "fd:%d", fds[0]);
	open_address(text, 30000);
	until("ready");
	ck_assert_str_eq(qmp_peer(client), text);
	finish();
	ck_assert_int_eq(close(fds[0]), 0);
}
END_TEST

/* A listener of this process at 127.0.0.1 or [::1], and its address as text; -1: no such. */
static int listen_tcp(int family, char text[static 64])
{
	union {
		struct sockaddr_in6 six;
		struct sockaddr_in four;
		struct sockaddr any;
	} name = {.six = {.sin6_addr = in6addr_loopback}};
	socklen_t size = sizeof(name);
	const int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	name.any.sa_family = (sa_family_t)family;
	if (family == AF_INET)
		name.four.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || bind(fd, &name.any, size) < 0 || listen(fd, 4) < 0 ||
		getsockname(fd, &name.any, &size) < 0)
		return -1;
	/* the port is at the same place in both */
	(void)snprintf(text, 64, family == AF_INET ? "tcp:127.0.0.1:%u" : "tcp:[::1]:%u",
		ntohs(name.four.sin_port));
	return fd;
}

/* Both families' tables in /proc are read right: our own process is found, and is no QEMU. */
START_TEST(who_listens)
{
	const int family = _i == 0 ? AF_INET : AF_INET6;
	struct qmp_address address;
	struct qmpsnap_error err;
	char text[64], expected[64];
	const int listener = listen_tcp(family, text);

	if (listener < 0)
		return; /* no IPv6 here */
	ck_assert(qmp_address_parse(text, &address, &err));
	const int fd = qmp_address_connect(&address, &err);
	ck_assert_int_ge(fd, 0);
	const int served = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(served, 0);
	ck_assert(!peer_is_here(fd, &err));
	(void)snprintf(expected, sizeof(expected), "is process %d, which is no QEMU", getpid());
	ck_assert_msg(strstr(err.message, expected) != NULL, "%s", err.message);
	ck_assert_int_eq(err.code, QMPSNAP_REFUSED);
	/* Closed at the other end it is nobody's, as one that isn't accepted yet: then who listens
	 * counts. */
	ck_assert_int_eq(close(served), 0);
	ck_assert(!peer_is_here(fd, &err));
	ck_assert_msg(strstr(err.message, expected) != NULL, "%s", err.message);
	ck_assert_int_eq(close(listener), 0);
	ck_assert(!peer_is_here(fd, &err));
	ck_assert_ptr_nonnull(strstr(err.message, "no socket of this host"));
	ck_assert_int_eq(close(fd), 0);
}
END_TEST

/* A connect() under way that then fails has a sentence of its own. */
START_TEST(nobody_listens_over_tcp)
{
	char text[64];

	ck_assert_int_eq(close(listen_tcp(AF_INET, text)), 0);
	open_address(text, 30000);
	until("ready!");
	expect_error(QMPSNAP_REFUSED, "cannot connect: Connection refused", "");
	qmp_close(client, on_closed, NULL);
	until("closed");
}
END_TEST

static Suite *suite(void)
{
	TCase *t = tcase_create("address");

	ADD(parses);
	ADD(each_failure_has_its_sentence);
	ADD(dead_socket_and_full_queue);
	ADD(no_permission);
	ADD(by_descriptor);
	tcase_add_loop_test(t, who_listens, 0, 2);
	ADD(nobody_listens_over_tcp);
	return client_suite("address", t);
}

SUITE_MAIN(suite)
