/* SPDX-License-Identifier: Apache-2.0
 *
 * fixture.h - a loop per test, and the oracle that nothing was left on it.  Use as a checked
 * fixture, so that it runs after Check's fork.
 */
#ifndef TESTS_FIXTURE_H
#define TESTS_FIXTURE_H

#include <check.h>
#include <uv.h>

static uv_loop_t loop;

static void loop_setup(void)
{
	ck_assert_int_eq(uv_loop_init(&loop), 0);
}

/* Runs what is left; a handle that was never closed makes the close fail. */
static void loop_teardown(void)
{
	ck_assert_int_eq(uv_run(&loop, UV_RUN_DEFAULT), 0);
	ck_assert_int_eq(uv_loop_close(&loop), 0);
	uv_library_shutdown();
}

#endif
