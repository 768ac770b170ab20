/* SPDX-License-Identifier: Apache-2.0
 *
 * suite.h - main() of a Check program.  Each program has one `static Suite *suite(void)` and ends
 * with SUITE_MAIN.  Check's closing line ("100%: Checks: 7, Failures: 0, Errors: 0") is what
 * runtests counts.
 */
#ifndef TESTS_SUITE_H
#define TESTS_SUITE_H

#include <check.h>
#include <stdlib.h>

#define SUITE_MAIN(make_suite)                                                                     \
	int main(void)                                                                             \
	{                                                                                          \
		SRunner *runner = srunner_create(make_suite());                                    \
		srunner_run_all(runner, CK_NORMAL);                                                \
		const int failed = srunner_ntests_failed(runner);                                  \
		srunner_free(runner);                                                              \
		return failed ? EXIT_FAILURE : EXIT_SUCCESS;                                       \
	}

#endif
