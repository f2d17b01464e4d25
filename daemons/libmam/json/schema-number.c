/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Numbers as decimals, and equality of values
 *
 * A number is what its text says: doubles keep theirs (mam_json_parse() and json-c's parser see to that), so
 * that 0.1 is a tenth and no digit of a large integer is lost.
 */

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "libmam/json/schema-internal.h"

#define EXPONENT_MAX                                                                          \
        1000000 /* beyond, the text is as good as its bound; json-c holds none that is larger \
                 */

static const char *number_text(json_object *o, char buffer[static 32]) {
        int64_t v;
        uint64_t u;

        if (json_object_get_type(o) == json_type_double)
                return json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
        v = json_object_get_int64(o);
        u = v == INT64_MAX ? json_object_get_uint64(o) : 0; /* the former saturates */
        if (u > (uint64_t) INT64_MAX)
                (void) snprintf(buffer, 32, "%" PRIu64, u);
        else
                (void) snprintf(buffer, 32, "%" PRIi64, v);
        return buffer;
}

static int32_t read_exponent(const char *s) {
        bool negative = *s == '-';
        int32_t e = 0;

        if (*s == '-' || *s == '+')
                s++;
        for (; *s >= '0' && *s <= '9'; s++)
                if (e < EXPONENT_MAX)
                        e = e * 10 + (*s - '0');
        if (e > EXPONENT_MAX)
                e = EXPONENT_MAX;
        return negative ? -e : e;
}

static void normalise(MamJsonDecimal *d) {
        while (d->n > 0 && d->digits[d->n - 1] == 0) {
                d->n--;
                d->exponent++;
        }
        if (d->n == 0) {
                d->exponent = 0;
                d->negative = false;
        }
}

bool mam_json_decimal(MamJsonDecimal *ret, json_object *o) {
        char buffer[32];
        const char *s;
        bool fraction = false;

        if (!json_object_is_type(o, json_type_int) && !json_object_is_type(o, json_type_double))
                return false;
        s = number_text(o, buffer);
        ret->negative = *s == '-';
        ret->exponent = 0;
        ret->n = 0;
        if (*s == '-')
                s++;
        if (*s < '0' || *s > '9')
                return false; /* NaN, Infinity: made by a program, not read */
        for (; (*s >= '0' && *s <= '9') || (*s == '.' && !fraction); s++) {
                if (*s == '.') {
                        fraction = true;
                        continue;
                }
                if (fraction)
                        ret->exponent--;
                if (ret->n == 0 && *s == '0')
                        continue;
                if (ret->n == sizeof(ret->digits))
                        return false;
                ret->digits[ret->n++] = (unsigned char) (*s - '0');
        }
        if (*s == 'e' || *s == 'E')
                ret->exponent += read_exponent(s + 1);
        normalise(ret);
        return true;
}

static int compare_magnitude(const MamJsonDecimal *a, const MamJsonDecimal *b) {
        int32_t x = a->exponent + (int32_t) a->n, y = b->exponent + (int32_t) b->n;
        unsigned n = a->n < b->n ? a->n : b->n;
        int c;

        if (a->n == 0 || b->n == 0)
                return (a->n > 0) - (b->n > 0);
        if (x != y)
                return x < y ? -1 : 1;
        c = memcmp(a->digits, b->digits, n);
        return c != 0 ? c : (a->n > n) - (b->n > n);
}

int mam_json_decimal_compare(const MamJsonDecimal *a, const MamJsonDecimal *b) {
        if (a->negative != b->negative)
                return a->negative ? -1 : 1;
        return a->negative ? compare_magnitude(b, a) : compare_magnitude(a, b);
}

bool mam_json_decimal_is_integer(const MamJsonDecimal *d) {
        return d->exponent >= 0; /* there are no trailing zeros to take from */
}

bool mam_json_decimal_is_multiple(const MamJsonDecimal *a, const MamJsonDecimal *b, uint64_t *steps) {
        int32_t zeros = a->exponent - b->exponent;
        unsigned __int128 divisor = 0, rest = 0;

        assert(b->n > 0 && b->n <= MAM_JSON_DIVISOR_DIGITS_MAX);

        if (a->n == 0)
                return true;
        if (zeros < 0)
                return false; /* the last digit of a is not 0, so a/b has a fraction */
        for (unsigned i = 0; i < b->n; i++)
                divisor = divisor * 10 + b->digits[i];
        for (unsigned i = 0; i < a->n; i++)
                rest = (rest * 10 + a->digits[i]) % divisor;
        *steps += a->n / 8U;
        for (; zeros > 0 && rest != 0; zeros--, *steps += (zeros % 8 == 0))
                rest = rest * 10 % divisor;
        return rest == 0;
}

bool mam_json_is_integer(json_object *o) {
        MamJsonDecimal d;

        if (json_object_is_type(o, json_type_int))
                return true;
        return json_object_is_type(o, json_type_double) && mam_json_decimal(&d, o) &&
               mam_json_decimal_is_integer(&d);
}

int mam_json_number_compare(json_object *a, json_object *b) {
        MamJsonDecimal x, y;

        if (json_object_is_type(a, json_type_int) && json_object_is_type(b, json_type_int)) {
                int64_t i = json_object_get_int64(a), j = json_object_get_int64(b);

                if (i != j)
                        return i < j ? -1 : 1;
                if (i != INT64_MAX)
                        return 0;
        }
        if (!mam_json_decimal(&x, a) || !mam_json_decimal(&y, b))
                return a == b ? 0 : 1;
        return mam_json_decimal_compare(&x, &y);
}

static bool take(uint64_t *steps, uint64_t n) {
        if (*steps < n) {
                *steps = 0;
                return false;
        }
        *steps -= n;
        return true;
}

static bool is_number(json_object *o) {
        return json_object_is_type(o, json_type_int) || json_object_is_type(o, json_type_double);
}

static bool equal_arrays(json_object *a, json_object *b, uint64_t *steps) {
        size_t n = json_object_array_length(a);

        if (n != json_object_array_length(b))
                return false;
        for (size_t i = 0; i < n; i++)
                if (!mam_json_equal(json_object_array_get_idx(a, i), json_object_array_get_idx(b, i), steps))
                        return false;
        return true;
}

static bool equal_objects(json_object *a, json_object *b, uint64_t *steps) {
        if (json_object_object_length(a) != json_object_object_length(b))
                return false;
        json_object_object_foreach(a, key, value) {
                json_object *other = NULL;

                if (!take(steps, strlen(key) / 32) || !json_object_object_get_ex(b, key, &other) ||
                    !mam_json_equal(value, other, steps))
                        return false;
        }
        return true;
}

bool mam_json_equal(json_object *a, json_object *b, uint64_t *steps) {
        if (!take(steps, 1))
                return false;
        if (a == b)
                return true;
        if (is_number(a) && is_number(b))
                return take(steps, json_object_is_type(a, json_type_double) ? 8 : 1) &&
                       mam_json_number_compare(a, b) == 0;
        if (json_object_get_type(a) != json_object_get_type(b))
                return false;
        switch (json_object_get_type(a)) {
        case json_type_boolean:
                return json_object_get_boolean(a) == json_object_get_boolean(b);
        case json_type_string: {
                size_t n = (size_t) json_object_get_string_len(a);

                return n == (size_t) json_object_get_string_len(b) && take(steps, n / 64) &&
                       memcmp(json_object_get_string(a), json_object_get_string(b), n) == 0;
        }
        case json_type_array:
                return equal_arrays(a, b, steps);
        case json_type_object:
                return equal_objects(a, b, steps);
        default:
                return true; /* null */
        }
}

static uint64_t mix(uint64_t h, const void *data, size_t n) {
        const unsigned char *p = data;

        for (size_t i = 0; i < n; i++)
                h = (h ^ p[i]) * UINT64_C(0x100000001b3);
        return h;
}

static uint64_t hash_number(json_object *o) {
        uint64_t h = UINT64_C(0xcbf29ce484222325) + 3;
        MamJsonDecimal d;

        if (!mam_json_decimal(&d, o))
                return h;
        h = mix(h, &d.negative, sizeof(d.negative));
        h = mix(h, &d.exponent, sizeof(d.exponent));
        return mix(h, d.digits, d.n);
}

uint64_t mam_json_hash(json_object *o, uint64_t *steps) {
        json_type type = json_object_get_type(o);
        uint64_t h = UINT64_C(0xcbf29ce484222325) + (uint64_t) type;

        if (!take(steps, 1))
                return 0;
        if (is_number(o))
                return take(steps, 2) ? hash_number(o) : 0;
        if (type == json_type_boolean)
                return h + (uint64_t) json_object_get_boolean(o) * 2;
        if (type == json_type_string) {
                size_t n = (size_t) json_object_get_string_len(o);

                return take(steps, n / 16) ? mix(h, json_object_get_string(o), n) : 0;
        }
        if (type == json_type_array) {
                size_t n = json_object_array_length(o);

                for (size_t i = 0; i < n; i++) {
                        uint64_t item = mam_json_hash(json_object_array_get_idx(o, i), steps);

                        h = mix(h, &item, sizeof(item));
                }
        } else if (type == json_type_object) {
                uint64_t sum = 0; /* whatever their order */

                json_object_object_foreach(o, key, value) {
                        uint64_t member = mam_json_hash(value, steps);

                        if (!take(steps, strlen(key) / 16))
                                return 0;
                        sum += mix(mix(h, key, strlen(key)), &member, sizeof(member));
                }
                h = mix(h, &sum, sizeof(sum));
        }
        return h;
}
