/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Kubernetes resource quantities
 */

#include <errno.h>
#include <stdint.h>

#include "libmam/util/macro.h"
#include "libmam/util/quantity.h"
#include "libmam/util/test.h"

typedef struct Case {
        const char *text;
        int result;
        uint64_t value;
} Case;

static void check(const Case *cases, size_t n, int (*parse)(const char *text, uint64_t *ret)) {
        for (size_t i = 0; i < n; i++) {
                uint64_t value = 4711;
                int r = parse(cases[i].text, &value);

                /* ret is written on success only */
                if (r != cases[i].result || value != (r < 0 ? 4711 : cases[i].value))
                        mam_test_fail_string(
                                        __FILE__,
                                        __LINE__,
                                        cases[i].text,
                                        r < 0 ? strerror(-r) : "value");
        }
}

TEST(cpu_is_read_in_thousandths_of_a_core) {
        static const Case cases[] = {
                { "500m", 0, 500 },
                { "2", 0, 2000 },
                { "1.5", 0, 1500 },
                { "0.1", 0, 100 },
                { ".5", 0, 500 },
                { "1.", 0, 1000 },
                { "+1", 0, 1000 },
                { "1e3", 0, 1000000 },
                { "1E-1", 0, 100 },
                { "2.50000000000000000000000", 0, 2500 },
                { "0.0001", 0, 1 }, /* finer than 1m: up */
                { "1.0001", 0, 1001 },
                { "100n", 0, 1 },
                { "1500u", 0, 2 },
                { "1k", 0, 1000000 },
                { "1M", 0, 1000000000 },
                { "1000000", 0, 1000000000 },
                { "1000000.001", -ERANGE, 0 },
                { "1Mi", -ERANGE, 0 },
                { "0", -ERANGE, 0 },
                { "0.000", -ERANGE, 0 },
                { "-1", -ERANGE, 0 },
                { "-500m", -ERANGE, 0 },
                { "1e999999999999", -ERANGE, 0 },
                { "1e-999999999999", 0, 1 },
                { "", -EINVAL, 0 },
                { "m", -EINVAL, 0 },
                { ".", -EINVAL, 0 },
                { "-", -EINVAL, 0 },
                { "1,5", -EINVAL, 0 },
                { "1.5.5", -EINVAL, 0 },
                { "1 m", -EINVAL, 0 },
                { " 1", -EINVAL, 0 },
                { "1m ", -EINVAL, 0 },
                { "0x10", -EINVAL, 0 },
                { "1e", -EINVAL, 0 },
                { "1e+", -EINVAL, 0 },
                { "1e3m", -EINVAL, 0 },
                { "500M1", -EINVAL, 0 },
                { "--1", -EINVAL, 0 },
                { "inf", -EINVAL, 0 },
                { "nan", -EINVAL, 0 },
        };

        check(cases, MAM_ELEMENTSOF(cases), mam_quantity_parse_cpu);
}

TEST(memory_is_read_in_bytes) {
        static const Case cases[] = {
                { "512Mi", 0, 536870912 },
                { "1Gi", 0, 1073741824 },
                { "1.5G", 0, 1500000000 },
                { "1.5Gi", 0, 1610612736 },
                { "128974848", 0, 128974848 },
                { "129e6", 0, 129000000 },
                { "123k", 0, 123000 },
                { "123Ki", 0, 125952 },
                { "1M", 0, 1000000 },
                { "1T", 0, 1000000000000 },
                { "1Ti", 0, 1099511627776 },
                { "1P", 0, 1000000000000000 },
                { "1Pi", 0, 1125899906842624 },
                { "1E", 0, 1000000000000000000 },
                { "1Ei", 0, 1152921504606846976 },
                { "1E3", 0, 1000 },
                { "128974848000m", 0, 128974848 },
                { "1m", 0, 1 },
                { "1001m", 0, 2 },
                { "0.5", 0, 1 },
                { "0.1Ki", 0, 103 }, /* 102.4 */
                { "9223372036854775807", 0, INT64_MAX },
                { "9223372036854775808", -ERANGE, 0 },
                { "7.999999999999999999Ei", 0, INT64_MAX },
                { "9223372036854775807.5", -ERANGE, 0 }, /* rounds up to 2^63 */
                { "1000000000000000000000m", 0, 1000000000000000000 },
                { "8Ei", -ERANGE, 0 },
                { "10E", -ERANGE, 0 },
                { "99999999999999999999999999", -ERANGE, 0 },
                { "99999999999999999999999999x", -EINVAL, 0 },
                { "00000000000000000000000000000001", 0, 1 },
                { "0Mi", -ERANGE, 0 },
                { "-1Gi", -ERANGE, 0 },
                { "1gi", -EINVAL, 0 },
                { "1GiB", -EINVAL, 0 },
                { "1KB", -EINVAL, 0 },
                { "1K", -EINVAL, 0 },
                { "1ki", -EINVAL, 0 },
                { "Mi", -EINVAL, 0 },
                { "512 Mi", -EINVAL, 0 },
                { "512Mi\n", -EINVAL, 0 },
        };

        check(cases, MAM_ELEMENTSOF(cases), mam_quantity_parse_bytes);
}

TEST(text_for_people_is_exact_and_reads_back) {
        static const uint64_t values[] = { 1,
                                           500,
                                           999,
                                           1000,
                                           1024,
                                           1500,
                                           2000,
                                           4096,
                                           536870912,
                                           1073741824,
                                           1610612736,
                                           1000000000,
                                           1152921504606846976,
                                           INT64_MAX };
        char text[32];
        uint64_t back;

        mam_quantity_format_cpu(text, 500);
        ASSERT_STREQ(text, "500m");
        mam_quantity_format_cpu(text, 2000);
        ASSERT_STREQ(text, "2");
        mam_quantity_format_bytes(text, 536870912);
        ASSERT_STREQ(text, "512Mi");
        mam_quantity_format_bytes(text, 1073741824);
        ASSERT_STREQ(text, "1Gi");
        mam_quantity_format_bytes(text, 1000);
        ASSERT_STREQ(text, "1000");
        mam_quantity_format_bytes(text, 0);
        ASSERT_STREQ(text, "0");

        for (size_t i = 0; i < MAM_ELEMENTSOF(values); i++) {
                mam_quantity_format_bytes(text, values[i]);
                ASSERT_OK(mam_quantity_parse_bytes(text, &back));
                ASSERT_EQ(back, values[i]);
                if (values[i] > 1000000000)
                        continue;
                mam_quantity_format_cpu(text, values[i]);
                ASSERT_OK(mam_quantity_parse_cpu(text, &back));
                ASSERT_EQ(back, values[i]);
        }
}
