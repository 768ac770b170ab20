/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/http.h"

#include "base/error.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

enum { BLIND_MS = 20 };

struct http {
	uv_loop_t *loop;
	CURLM *multi;
	uv_timer_t timer;
	uv_timer_t blind; /* runs while there is a socket that couldn't be watched */
	size_t n_handles; /* the timers and a poll for each socket */
	bool closing;
	struct http_tls tls;
	char *cacert, *cert, *key; /* what `tls` points to */
};

/* One of libcurl's sockets. */
struct watch {
	uv_poll_t poll;
	struct http *http;
	curl_socket_t socket;
	int events;
};

static void free_memory(struct http *h)
{
	free(h->cacert);
	free(h->cert);
	free(h->key);
	free(h);
}

static void unref_handle(struct http *h)
{
	if (--h->n_handles > 0 || !h->closing)
		return;
	curl_global_cleanup();
	free_memory(h);
}

static void watch_closed(uv_handle_t *handle)
{
	struct watch *watch = handle->data;
	struct http *h = watch->http;

	free(watch);
	unref_handle(h);
}

static void timer_closed(uv_handle_t *handle)
{
	unref_handle(handle->data);
}

static void check_ended(struct http *h)
{
	const CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(h->multi, &left))) {
		struct http_call *call = NULL;
		if (message->msg != CURLMSG_DONE)
			continue;
		const CURLcode result = message->data.result;
		(void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &call);
		http_call_ended(call, (int)result); /* `message` is gone from here on */
	}
}

static void act(struct http *h, curl_socket_t socket, int events)
{
	int running;

	/* Its only errors are a bad handle and recursion. */
	(void)curl_multi_socket_action(h->multi, socket, events, &running);
	check_ended(h);
}

/* libuv stops to watch a socket that has an error.  The answer to a refused upload may still be
 * there to be read, so libcurl gets to read and write, and finds the error behind it. */
static void on_poll(uv_poll_t *poll, int status, int events)
{
	const struct watch *watch = poll->data;
	int flags = status < 0 ? CURL_CSELECT_IN | CURL_CSELECT_OUT : 0;

	if (events & UV_READABLE)
		flags |= CURL_CSELECT_IN;
	if (events & UV_WRITABLE)
		flags |= CURL_CSELECT_OUT;
	act(watch->http, watch->socket, flags);
	/* A watch is freed in its close callback, so not yet. */
	if (!uv_is_closing((uv_handle_t *)poll) && !uv_is_active((uv_handle_t *)poll) &&
		watch->events)
		(void)uv_poll_start(poll, watch->events, on_poll);
}

static void on_timer(uv_timer_t *timer)
{
	act(timer->data, CURL_SOCKET_TIMEOUT, 0);
}

static void on_blind(uv_timer_t *timer)
{
	struct http *h = timer->data;
	int running = 0;

	(void)curl_multi_perform(h->multi, &running);
	if (running == 0)
		(void)uv_timer_stop(timer);
	check_ended(h);
}

/* A socket that can't be watched is looked at now and then.  An error would end all transfers at
 * once, and libcurl (7.88) doesn't always survive that itself. */
static int go_blind(struct http *h)
{
	(void)uv_timer_start(&h->blind, on_blind, BLIND_MS, BLIND_MS);
	return 0;
}

static int set_timer(CURLM *multi, long timeout_ms, void *data)
{
	struct http *h = data;

	(void)multi;
	if (h->closing)
		return 0;
	if (timeout_ms < 0)
		return uv_timer_stop(&h->timer) == 0 ? 0 : -1;
	return uv_timer_start(&h->timer, on_timer, (uint64_t)timeout_ms, 0) == 0 ? 0 : -1;
}

static struct watch *new_watch(struct http *h, curl_socket_t socket)
{
	struct watch *watch = calloc(1, sizeof(*watch));

	if (!watch)
		return NULL;
	if (uv_poll_init_socket(h->loop, &watch->poll, socket) != 0) {
		free(watch);
		return NULL;
	}
	watch->poll.data = watch;
	watch->http = h;
	watch->socket = socket;
	h->n_handles++;
	if (curl_multi_assign(h->multi, socket, watch) != CURLM_OK) {
		uv_close((uv_handle_t *)&watch->poll, watch_closed);
		return NULL;
	}
	return watch;
}

static int set_socket(CURL *easy, curl_socket_t socket, int what, void *data, void *socket_data)
{
	struct http *h = data;
	struct watch *watch = socket_data;
	int events = 0;

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (watch) {
			(void)curl_multi_assign(h->multi, socket, NULL);
			uv_close((uv_handle_t *)&watch->poll, watch_closed);
		}
		return 0;
	}
	if (what & CURL_POLL_IN)
		events |= UV_READABLE;
	if (what & CURL_POLL_OUT)
		events |= UV_WRITABLE;
	if (!watch && !(watch = new_watch(h, socket)))
		return go_blind(h);
	watch->events = events;
	if (events == 0)
		(void)uv_poll_stop(&watch->poll); /* can't fail */
	else if (uv_poll_start(&watch->poll, events, on_poll) != 0)
		return go_blind(h);
	return 0;
}

static bool copy(char **to, const char *text)
{
	*to = text ? strdup(text) : NULL;
	return *to || !text;
}

static bool copy_tls(struct http *h, const struct http_tls *tls)
{
	if (!tls)
		return true;
	if (!copy(&h->cacert, tls->cacert) || !copy(&h->cert, tls->cert) ||
		!copy(&h->key, tls->key))
		return false;
	h->tls = (struct http_tls){
		.insecure = tls->insecure, .cacert = h->cacert, .cert = h->cert, .key = h->key};
	return true;
}

struct http *http_new(uv_loop_t *loop, const struct http_tls *tls, struct qmpsnap_error *err)
{
	struct http *h = calloc(1, sizeof(*h));

	if (!h || !copy_tls(h, tls)) {
		error_no_memory(err);
		if (h)
			free_memory(h);
		return NULL;
	}
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		error_set(err, QMPSNAP_INTERNAL, "libcurl can't be initialized");
		free_memory(h);
		return NULL;
	}
	h->loop = loop;
	h->multi = curl_multi_init();
	if (!h->multi ||
		curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, set_socket) != CURLM_OK ||
		curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h) != CURLM_OK ||
		curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, set_timer) != CURLM_OK ||
		curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h) != CURLM_OK ||
		uv_timer_init(loop, &h->timer) != 0 || uv_timer_init(loop, &h->blind) != 0) {
		(void)curl_multi_cleanup(h->multi);
		curl_global_cleanup();
		free_memory(h);
		error_no_memory(err);
		return NULL;
	}
	h->timer.data = h->blind.data = h;
	h->n_handles = 2;
	return h;
}

void http_free(struct http *h)
{
	if (!h)
		return;
	/* Closes the idle connections, and with them their watches. */
	(void)curl_multi_cleanup(h->multi);
	h->closing = true;
	uv_close((uv_handle_t *)&h->timer, timer_closed);
	uv_close((uv_handle_t *)&h->blind, timer_closed);
}

bool http_add(struct http *h, CURL_handle *easy, struct qmpsnap_error *err)
{
	const CURLMcode rc = curl_multi_add_handle(h->multi, easy);

	return rc == CURLM_OK ||
	       error_set(err, QMPSNAP_INTERNAL, "libcurl: %s", curl_multi_strerror(rc));
}

void http_remove(struct http *h, CURL_handle *easy)
{
	(void)curl_multi_remove_handle(h->multi, easy);
}

uv_loop_t *http_loop(const struct http *h)
{
	return h->loop;
}

const struct http_tls *http_tls(const struct http *h)
{
	return &h->tls;
}
