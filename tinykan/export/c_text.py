"""What C files consist of, but for the network."""

from __future__ import annotations

HEADER = """\
/* {name}: a network of {in_features} inputs and {out_features} outputs, by tinykan {version}
 *
{text}
 *
 * C99, where float has IEEE 754's 32 bits; link with -lm. Nothing is allocated, and several threads
 * may call the function at once. Compilers vectorize its loops with -O3 -march=native.
 */
"""

# Without these, loops over activations are not vectorized, since a comparison with NaN could raise
# a trap, and the sums of a layer take 2.5 times as long with GCC 12's -O3.
PRAGMA = """\
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-trapping-math", "no-loop-unroll-and-jam")
#endif
"""

# Helpers, each after those that it needs. NaN stays NaN. There is no floorf: before SSE4.1 it is a
# call, and not vectorized.
HELPERS = {
    "maximum": """\
static inline float maximum(float x, float y)
{
    return x < y ? y : x;
}
""",
    "minimum": """\
static inline float minimum(float x, float y)
{
    return x > y ? y : x;
}
""",
    "clamped": """\
static inline float clamped(float x, float low, float high)
{
    const float y = x < low ? low : x;
    return y > high ? high : y;
}
""",
    "integer": """\
/* x without its fraction, for -2^31 < x < 2^31; 0 for NaN. */
static inline int32_t integer(float x)
{
    const float known = x == x ? x : 0.0f;
    return (int32_t)known;
}
""",
    "whole": """\
/* The largest integer up to x. */
static inline float whole(float x)
{
    const float near = (float)integer(clamped(x, -8388608.0f, 8388608.0f));
    const float below = near - 1.0f, down = near > x ? below : near;
    return fabsf(x) < 8388608.0f ? down : x;
}
""",
    "exponential": """\
/* e^x for x within (-87, 87), and beyond as there. */
static inline float exponential(float x)
{
    const float bounded = clamped(x, -87.0f, 87.0f);
    const int32_t exponent = integer(bounded * 1.4426950f + 127.5f);
    const float turns = (float)(exponent - 127), rest = bounded - turns * 0.69314718f;
    const int32_t bits = exponent * 8388608;
    float power;
    memcpy(&power, &bits, sizeof power);
    return power * (1.0f + rest * (1.0f + rest * (0.5f + rest * (0.16666667f
        + rest * (0.041666668f + rest * (0.008333334f + rest * (0.0013888889f
        + rest * 1.9841270e-4f)))))));
}
""",
    "hyperbolic_tangent": """\
static inline float hyperbolic_tangent(float x)
{
    return 2.0f / (1.0f + exponential(-2.0f * x)) - 1.0f;
}
""",
    "half_turns": """\
/* x / pi, as far as float32 knows it to a fraction. */
static inline float half_turns(float x)
{
    return clamped(x * 0.31830987f, -8388608.0f, 8388608.0f);
}
""",
    "sine": """\
/* The angle less its nearest multiple of pi, then Taylor's series. */
static inline float sine(float x)
{
    const float turns = half_turns(x);
    const int32_t nearest = integer(turns + (turns < 0.0f ? -0.5f : 0.5f));
    const float sign = (float)(1 - 2 * (nearest & 1));
    const float y = (turns - (float)nearest) * 3.1415927f, z = y * y;
    return sign * (y * (1.0f + z * (-0.16666667f + z * (0.008333334f + z * (-1.9841270e-4f
        + z * (2.7557319e-6f + z * -2.5052108e-8f))))));
}
""",
    "cosine": """\
static inline float cosine(float x)
{
    const float turns = half_turns(x);
    const int32_t nearest = integer(turns + (turns < 0.0f ? -0.5f : 0.5f));
    const float sign = (float)(1 - 2 * (nearest & 1));
    const float y = (turns - (float)nearest) * 3.1415927f, z = y * y;
    return sign * (1.0f + z * (-0.5f + z * (0.041666668f + z * (-0.0013888889f
        + z * (2.4801588e-5f + z * (-2.7557319e-7f + z * 2.0876757e-9f))))));
}
""",
    "cell": """\
/* How many of `count` knots are at or left of x; for x at the last one, how many are left of it. */
static int32_t cell(const float *knots, int32_t count, float x)
{
    int32_t low = 0, high = count;
    while (low < high) {
        const int32_t middle = (low + high) / 2;
        if (knots[middle] < x || (knots[middle] == x && x < knots[count - 1]))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}
""",
}

FUNCTION = """\
/* in: {inputs}.
 * out: {outputs}, all written. The two must not overlap. */
void {name}(const float *in, float *out);

void {name}(const float *in, float *out)
{{
{body}
}}
"""

MAIN = """
/* A number in the text, from 1 on; 0 if there is none. */
static int size(const char *text)
{{
    char *end;
    const long value = strtol(text, &end, 10);
    return *end == '\\0' && value > 0 && value <= 1000000 ? (int)value : 0;
}}

/* Coordinates are from -1, the center of the first column or row, to 1, that of the last one. */
static float coordinate(int index, int count)
{{
    return count > 1 ? (float)(index * (2.0 / (count - 1)) - 1.0) : 0.0f;
}}

/* -1 is black and 1 is white. */
static int byte(float value)
{{
    const float known = value == value ? value : 0.0f;
    const float limited = known < -1.0f ? -1.0f : known > 1.0f ? 1.0f : known;
    return (int)lrintf((limited + 1.0f) * 127.5f);
}}

int main(int argc, char **argv)
{{
    const int width = argc == {arguments} ? size(argv[1]) : 0;
    const int height = argc == {arguments} ? size(argv[2]) : 0;
{arguments_of_slices}    if (width == 0 || height == 0{wrong_slices}) {{
        fprintf(stderr, "usage: %s WIDTH HEIGHT{usage} FILE\\n", argv[0]);
        return 2;
    }}
    FILE *file = fopen(argv[{file}], "wb");
    if (file == NULL) {{
        perror(argv[{file}]);
        return 1;
    }}
    fprintf(file, "P{kind}\\n%d %d\\n255\\n", width, height);
    for (int row = 0; row < height; row++)
        for (int column = 0; column < width; column++) {{
            float in[{in_features}], out[{out_features}];
{set_slice}            in[{x}] = coordinate(column, width);
            in[{y}] = coordinate(row, height);
            {name}(in, out);
            for (int channel = 0; channel < {out_features}; channel++)
                putc(byte(out[channel]), file);
        }}
    const int failed = ferror(file);
    if (fclose(file) != 0 || failed) {{
        perror(argv[{file}]);
        return 1;
    }}
    return 0;
}}
"""

SLICES = {
    "arguments_of_slices": """\
    /* Slice 0 .. COUNT - 1, or a number between two, has the coordinate 2 SLICE / COUNT - 1. */
    char *end = NULL;
    const double slice = argc == 6 ? strtod(argv[3], &end) : 0.0;
    const int count = argc == 6 ? size(argv[4]) : 0;
""",
    "wrong_slices": " || count == 0 || *end != '\\0' || !(slice >= 0.0 && slice < count)",
    "usage": " SLICE COUNT",
    "set_slice": "            in[0] = (float)(2.0 * slice / count - 1.0);\n",
}

KEYWORDS = """
auto break case char const continue default do double else enum extern float for goto if inline int
long register restrict return short signed sizeof static struct switch typedef union unsigned void
volatile while main asm typeof bool true false nullptr constexpr thread_local alignas alignof
static_assert typeof_unqual
"""

# Functions of the standard library whose names compilers know; first those that have two more, as
# sin has sinf and sinl.
LIBRARY = """
acos acosh asin asinh atan atan2 atanh cbrt ceil copysign cos cosh erf erfc exp exp2 expm1 fabs fdim
floor fma fmax fmin fmod frexp hypot ilogb ldexp lgamma llrint llround log log10 log1p log2 logb
lrint lround modf nan nearbyint nextafter nexttoward pow remainder remquo rint round scalbln scalbn
sin sinh sqrt tan tanh tgamma trunc j0 j1 jn y0 y1 yn gamma drem exp10 pow10 significand scalb
sincos signbit isnan isinf finite cabs carg cexp clog conj cpow cproj creal cimag csin ccos ctan
csqrt csinh ccosh ctanh cacos casin catan cacosh casinh catanh
"""
OTHERS = """
abort abs labs llabs imaxabs exit atexit malloc calloc realloc free alloca printf fprintf sprintf
snprintf vprintf vfprintf vsprintf vsnprintf scanf fscanf sscanf vscanf vfscanf vsscanf puts putchar
putc fputs fputc fopen fclose ferror perror fwrite memcpy memcmp memset memmove memchr mempcpy bcmp
bcopy bzero index rindex strcat strchr strcmp strcpy strcspn strlen strncat strncmp strncpy strpbrk
strrchr strspn strstr strdup strndup stpcpy stpncpy strcasecmp strncasecmp strtol strtod strftime
isalnum isalpha isblank iscntrl isdigit isgraph islower isprint ispunct isspace isupper isxdigit
toascii tolower toupper isascii iswalnum iswalpha towlower towupper execl execlp execle execv execvp
execve fork ffs ffsl ffsll gettext dgettext dcgettext strfmon stderr stdin stdout errno FILE NULL
EOF
"""
RESERVED = {
    *KEYWORDS.split(),
    *OTHERS.split(),
    *(name + suffix for name in LIBRARY.split() for suffix in ("", "f", "l")),
}
