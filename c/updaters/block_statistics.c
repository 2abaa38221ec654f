/* SPDX-License-Identifier: Apache-2.0 */
/* The gradient of one block of a layer, summed while the samples run. A sample's statistics are the mean of each entry's
 * input, int16, and the activity of each row in Q8, uint16. BlockFlips._candidate. */
#include <string.h>

#include "../session/calibrator.h"

enum { SIGNAL_SHIFT = 8 };

static int32_t blocks_of(const cal_calibrator *cal, const cal_layer *layer) {
    const int32_t height = cal_block_height(cal, layer), width = cal_block_width(cal, layer);
    return (layer->c_out + height - 1) / height * ((layer->c_in / layer->groups + width - 1) / width);
}

int32_t cal_block_count(const cal_calibrator *cal) {
    int32_t count = 0;
    for (int32_t i = 0; i < cal->program->layer_count; i++) count += blocks_of(cal, &cal->program->layers[i]);
    return count;
}

/* Layer by layer, row by row. */
cal_block cal_block_at(const cal_calibrator *cal, int32_t number) {
    const cal_layer *layer = cal->program->layers;
    for (; number >= blocks_of(cal, layer); layer++) number -= blocks_of(cal, layer);
    const int32_t height = cal_block_height(cal, layer), width = cal_block_width(cal, layer);
    const int32_t depth = layer->c_in / layer->groups, across = (depth + width - 1) / width;
    const int32_t row = number / across * height, column = number % across * width;
    return (cal_block){
        .layer = (int32_t)(layer - cal->program->layers),
        .row = row,
        .row_end = row + height < layer->c_out ? row + height : layer->c_out,
        .column = column,
        .column_end = column + width < depth ? column + width : depth,
    };
}

/* The input channel of an entry. */
static int32_t input_of(const cal_layer *layer, int32_t row, int32_t column) {
    return row / (layer->c_out / layer->groups) * (layer->c_in / layer->groups) + column;
}

static uint8_t *activity(const cal_memory_map *map, const cal_block *block) {
    return map->statistics + 2 * (ptrdiff_t)(block->row_end - block->row) * (block->column_end - block->column);
}

void cal_add_input(cal_calibrator *cal, int32_t channel, int16_t mean) {
    const cal_memory_map map = cal_map(cal);
    const cal_block block = cal_block_at(cal, cal->sensed_end - 1);
    uint8_t *entry = map.statistics;
    *map.magnitude += mean < 0 ? -mean : mean;
    for (int32_t row = block.row; row < block.row_end; row++)
        for (int32_t column = block.column; column < block.column_end; column++, entry += 2)
            if (input_of(&cal->program->layers[block.layer], row, column) == channel) memcpy(entry, &mean, sizeof mean);
}

void cal_count_output(cal_calibrator *cal, const int8_t *y) {
    const cal_memory_map map = cal_map(cal);
    const cal_block block = cal_block_at(cal, cal->sensed_end - 1);
    const cal_place place = cal_place_of(cal->program, block.layer);
    const int32_t positions = place.output->height * place.output->width;
    uint8_t *stored = activity(&map, &block);
    for (int32_t row = block.row; row < block.row_end; row++, stored += 2) {
        int32_t count = place.output->bits == 32 ? positions : 0;
        for (int32_t p = 0; p < positions && place.output->bits == 8; p++) {
            const int8_t code = y[(ptrdiff_t)p * place.layer->c_out + row];
            count += place.op->clamp_low < code && code < place.op->clamp_high;
        }
        const uint16_t share = (uint16_t)(((int64_t)count << 8) / positions);
        memcpy(stored, &share, sizeof share);
    }
}

static int32_t error_of(const cal_calibrator *cal, const cal_softmax *softmax, uint16_t label, int32_t k) {
    return cal_probability(cal, softmax, k) - (k == label ? CAL_ERROR_ONE : 0);
}

/* The sample that has just run: its signals times its means. */
void cal_add_to_block(cal_calibrator *cal, const cal_softmax *softmax, uint16_t label, int32_t importance) {
    const cal_memory_map map = cal_map(cal);
    const cal_block block = cal_block_at(cal, cal->sensed_end - 1);
    const uint8_t *active = activity(&map, &block), *entry = map.statistics;
    const bool last = block.layer == cal_last_layer(cal->program);
    int64_t *sum = map.sum;
    for (int32_t row = block.row; row < block.row_end; row++, active += 2) {
        int64_t signal = 0; /* |sum of error * feedback| < 2 * 2^15 * 2^7 = 2^23 */
        if (last) {
            signal = error_of(cal, softmax, label, row);
        } else {
            const int8_t *column = cal->feedback + cal->program->layers[block.layer].channel_offset + row;
            for (int32_t k = 0; k < cal->classes; k++)
                signal += (int64_t)error_of(cal, softmax, label, k) * column[k * cal->program->channel_count];
            signal = cal_nearest_shift(signal, SIGNAL_SHIFT);
        }
        uint16_t share;
        memcpy(&share, active, sizeof share);
        const int64_t weighted = cal_nearest_shift(signal * importance * share, 8); /* |.| < 2^21 */
        map.bias_sum[row - block.row] += weighted;
        for (int32_t column = block.column; column < block.column_end; column++, entry += 2, sum++) {
            int16_t mean;
            memcpy(&mean, entry, sizeof mean);
            *sum += weighted * mean;
        }
    }
}
