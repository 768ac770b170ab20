/* SPDX-License-Identifier: Apache-2.0
 *
 * s3_config.h - where S3 is and who we are there, from the variables AWS_* and the files of the AWS
 * command line (~/.aws/config and ~/.aws/credentials), with the precedence of botocore: variables,
 * then the credentials file, then the config file.
 *
 * Read: AWS_PROFILE (or AWS_DEFAULT_PROFILE), AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
 * AWS_SESSION_TOKEN, AWS_REGION (or AWS_DEFAULT_REGION), AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL,
 * AWS_IGNORE_CONFIGURED_ENDPOINT_URLS, AWS_CA_BUNDLE, AWS_CONFIG_FILE, AWS_SHARED_CREDENTIALS_FILE;
 * of a profile aws_access_key_id, aws_secret_access_key, aws_session_token, region, endpoint_url,
 * services, ca_bundle, and addressing_style below s3.  Credentials that a program or a service
 * would have to be asked for (credential_process, SSO, roles) aren't.
 */
#ifndef UPLOAD_S3_CONFIG_H
#define UPLOAD_S3_CONFIG_H

#include "base/error.h"
#include "upload/url.h"

enum { S3_REGION_BYTES = 64 };

struct s3_config {
	char *access_key;
	char *secret_key, *session_token; /* secrets; the second is NULL for lasting keys */
	char region[S3_REGION_BYTES];
	char endpoint[URL_BASE_BYTES]; /* "": that of AWS in the region */
	bool virtual_host; /* the bucket belongs into the host's name */
	char *ca_bundle; /* file in PEM, or NULL */
};

/* Reads files.  False and *err (USAGE, INTERNAL); to be freed in any case. */
bool s3_config_open(struct s3_config *config, struct qmpsnap_error *err);

/* Also of one that is all zero. */
void s3_config_free(struct s3_config *config);

#endif
