"""The C functions that the layers of a net share; each is written only where a layer needs it."""

from __future__ import annotations

#: structure of a layer, function, and bytes of the structure where a pointer and an int32_t have 4 each
SIZES = {"convolution": 60, "addition": 44, "average": 32, "dense": 20}

DOT = """\
/* in blocks of sixteen, which compilers unroll or vectorise at -O2 */
static int32_t dot(const int8_t *x, const int8_t *w, int32_t count)
{
    int32_t sum = 0, i = 0;
    for (; i + 16 <= count; i += 16) {
        int32_t block = 0;
        for (int32_t j = 0; j < 16; ++j) {
            block += (int32_t)x[i + j] * w[i + j];
        }
        sum += block;
    }
    for (; i < count; ++i) {
        sum += (int32_t)x[i] * w[i];
    }
    return sum;
}
"""

CLAMP = """\
/* features are int8, or int16 where they are wide */
static int32_t get(const void *x, int32_t i, int32_t wide)
{
    return wide ? ((const int16_t *)x)[i] : ((const int8_t *)x)[i];
}

/* floor(a / 2^shift), the same for negative numbers on every compiler, plus the zero point; cut to the range of y */
static void put(void *y, int32_t i, int32_t wide, int64_t a, int shift, int32_t zero)
{
    const int64_t q = (a < 0 ? ~(~a >> shift) : a >> shift) + zero;
    if (wide) {
        ((int16_t *)y)[i] = (int16_t)(q < -32768 ? -32768 : q > 32767 ? 32767 : q);
    } else {
        ((int8_t *)y)[i] = (int8_t)(q < -128 ? -128 : q > 127 ? 127 : q);
    }
}
"""

REQUANTISE = """\
/* floor(sum * multiplier / 2^shift + 1/2) before it is stored */
static int64_t scaled(int32_t sum, int32_t multiplier, int shift)
{
    return (int64_t)sum * multiplier + ((int64_t)1 << (shift - 1));
}
"""

CONVOLUTION_TYPE = """\
/* a convolution over time; one multiplier and shift per output */
typedef struct {
    int32_t in_length, in_channels, out_length, out_channels;
    int32_t kernel, stride, padding;
    int32_t in_zero, in_wide, out_zero, out_wide;
    const int8_t *weights;
    const int32_t *bias;
    const int32_t *multipliers;
    const uint8_t *shifts;
} convolution;
"""

CONVOLVE = """\
/* Weights are outputs x taps x inputs, so that the taps of an output are one dot product with consecutive samples.
 * The bias holds what the zero point adds over all taps; taps beyond the ends of the window read the zero point. */
static void convolve(const convolution *layer, const int8_t *x, void *y)
{
    const int32_t inputs = layer->in_channels, outputs = layer->out_channels, taps = layer->kernel * inputs;
    for (int32_t t = 0; t < layer->out_length; ++t) {
        const int32_t start = t * layer->stride - layer->padding, stop = start + layer->kernel;
        const int32_t from = start < 0 ? 0 : start, to = stop > layer->in_length ? layer->in_length : stop;
        const int32_t before = (from - start) * inputs, inside = (to - from) * inputs;
        const int8_t *w = layer->weights;
        for (int32_t o = 0; o < outputs; ++o, w += taps) {
            int32_t sum = layer->bias[o] + dot(x + from * inputs, w + before, inside);
            if (inside < taps) {
                int32_t outside = 0;
                for (int32_t i = 0; i < before; ++i) {
                    outside += w[i];
                }
                for (int32_t i = before + inside; i < taps; ++i) {
                    outside += w[i];
                }
                sum += layer->in_zero * outside;
            }
            put(y, t * outputs + o, layer->out_wide, scaled(sum, layer->multipliers[o], layer->shifts[o]),
                layer->shifts[o], layer->out_zero);
        }
    }
}
"""

CONVOLVE_EACH = """\
/* Each channel by itself, weights taps x channels; with one tap it may work in place. */
static void convolve_each(const convolution *layer, const void *x, void *y)
{
    const int32_t channels = layer->out_channels;
    for (int32_t t = 0; t < layer->out_length; ++t) {
        const int32_t start = t * layer->stride - layer->padding, stop = start + layer->kernel;
        const int32_t from = start < 0 ? 0 : start, to = stop > layer->in_length ? layer->in_length : stop;
        for (int32_t c = 0; c < channels; ++c) {
            int32_t sum = layer->bias[c];
            for (int32_t s = from; s < to; ++s) {
                const int32_t q = get(x, s * channels + c, layer->in_wide) - layer->in_zero;
                sum += q * layer->weights[(s - start) * channels + c];
            }
            put(y, t * channels + c, layer->out_wide, scaled(sum, layer->multipliers[c], layer->shifts[c]),
                layer->shifts[c], layer->out_zero);
        }
    }
}
"""

ADD = """\
/* a sum of two features, each brought to the step of the result; it may work in place */
typedef struct {
    int32_t length, channels;
    int32_t first_zero, first_wide, second_zero, second_wide, out_zero, out_wide;
    const int32_t *first;
    const int32_t *second;
    const uint8_t *shifts;
} addition;

static void add(const addition *layer, const void *a, const void *b, void *y)
{
    for (int32_t i = 0, t = 0; t < layer->length; ++t) {
        for (int32_t c = 0; c < layer->channels; ++c, ++i) {
            const int64_t first = get(a, i, layer->first_wide) - layer->first_zero;
            const int64_t second = get(b, i, layer->second_wide) - layer->second_zero;
            const int64_t half = (int64_t)1 << (layer->shifts[c] - 1);
            put(y, i, layer->out_wide, first * layer->first[c] + second * layer->second[c] + half, layer->shifts[c],
                layer->out_zero);
        }
    }
}
"""

AVERAGE = """\
/* the mean over time; the multipliers hold the division by the length */
typedef struct {
    int32_t length, channels;
    int32_t in_zero, in_wide, out_zero, out_wide;
    const int32_t *multipliers;
    const uint8_t *shifts;
} average;

static void pool(const average *layer, const void *x, void *y)
{
    for (int32_t c = 0; c < layer->channels; ++c) {
        int32_t sum = 0;
        for (int32_t t = 0; t < layer->length; ++t) {
            sum += get(x, t * layer->channels + c, layer->in_wide) - layer->in_zero;
        }
        put(y, c, layer->out_wide, scaled(sum, layer->multipliers[c], layer->shifts[c]), layer->shifts[c],
            layer->out_zero);
    }
}
"""

DENSE = """\
/* a linear layer with float outputs; the bias holds what the zero point adds */
typedef struct {
    int32_t inputs, outputs;
    const int8_t *weights;
    const int32_t *bias;
    const float *steps;
} dense;

static void classify(const dense *layer, const int8_t *x, float *logits)
{
    for (int32_t k = 0; k < layer->outputs; ++k) {
        const int32_t sum = layer->bias[k] + dot(x, layer->weights + k * layer->inputs, layer->inputs);
        logits[k] = (float)sum * layer->steps[k];
    }
}
"""

READ = """\
/* Physical units to int8, from channels x samples to samples x channels; 0 where a sample is NaN or infinite.
 * q = floor(y + 128.5) - 128 with y cut to -128 ... 127 before it is converted. */
static int read_window(const float *window, int8_t *x)
{{
    for (int32_t c = 0; c < {NAME}_CHANNELS; ++c) {{
        for (int32_t t = 0; t < {NAME}_LENGTH; ++t) {{
            float y = window[c * {NAME}_LENGTH + t];
            if (!(y >= -FLT_MAX && y <= FLT_MAX)) {{
                return 0;
            }}
            y = ((y - offset[c]) - rest[c]) / divisor[c];
{clip}            y = y < -128.0f ? -128.0f : y > 127.0f ? 127.0f : y;
            x[t * {NAME}_CHANNELS + c] = (int8_t)((int32_t)(y + 128.5f) - 128);
        }}
    }}
    return 1;
}}
"""

CLIP = """\
            y = y > 1.0f ? 0.99f : y < 0.0f ? 0.0f : y;
            y = (y - mean[c]) / step[c];
"""
