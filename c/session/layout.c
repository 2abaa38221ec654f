/* SPDX-License-Identifier: Apache-2.0 */
/* Where everything of a calibration lies in memory. */
#include "calibrator.h"

static int64_t up_to(int64_t bytes, int64_t multiple) { return (bytes + multiple - 1) / multiple * multiple; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

cal_place cal_place_of(const cal_program *program, int32_t layer) {
    int32_t i = 0;
    while (program->ops[i].layer != layer) i++; /* cal_check saw that each layer is used */
    const cal_op *op = &program->ops[i];
    return (cal_place){&program->layers[layer], op, &program->tensors[op->input0], &program->tensors[op->output]};
}

/* The layer whose channels are the classes: its signal is the output error itself. -1 if there is none. */
int32_t cal_last_layer(const cal_program *program) {
    for (int32_t i = 0; i < program->op_count; i++)
        if (program->ops[i].output == program->output) return program->ops[i].layer;
    return -1;
}

int64_t cal_weight_total(const cal_layer *layer) {
    return (int64_t)layer->kernel_h * layer->kernel_w * cal_slope_total(layer);
}

int64_t cal_slope_total(const cal_layer *layer) { return (int64_t)layer->c_out * (layer->c_in / layer->groups); }

int64_t cal_undo_bytes(const cal_layer *layer) {
    const int64_t weights = cal_weight_total(layer);
    return layer->bits == 8 ? weights : (weights + 7) / 8;
}

int32_t cal_block_height(const cal_calibrator *cal, const cal_layer *layer) {
    const int32_t height = cal->settings.block / (layer->c_in / layer->groups);
    return height < 1 ? 1 : height < layer->c_out ? height : layer->c_out;
}

int32_t cal_block_width(const cal_calibrator *cal, const cal_layer *layer) {
    const int32_t depth = layer->c_in / layer->groups;
    return depth < cal->settings.block ? depth : cal->settings.block;
}

/* Of one channel's activity in a record: nothing where all positions always are active. */
int32_t cal_activity_bytes(const cal_place *place) {
    if (place->output->bits == 32) return 0;
    return (int64_t)place->output->height * place->output->width <= 255 ? 1 : 2;
}

/* A sample's record: class and output error, uint16 and int17 as uint16; then per layer the means of its input, int16
 * [c_in], and the activity of its output [c_out]. */
int64_t cal_record_bytes(const cal_calibrator *cal, int32_t first, int32_t end) {
    int64_t bytes = 2 * ((int64_t)cal->classes + 1);
    for (int32_t i = first; i < end; i++) {
        const cal_place place = cal_place_of(cal->program, i);
        bytes += 2 * (int64_t)place.layer->c_in;
        bytes += up_to((int64_t)place.layer->c_out * cal_activity_bytes(&place), 2);
    }
    return bytes;
}

int64_t cal_statistics_bytes(const cal_calibrator *cal, bool all) {
    const int32_t layers = cal->program->layer_count;
    int64_t record = cal_record_bytes(cal, 0, layers);
    if (!all) {
        record = 0;
        for (int32_t i = 0; i < layers; i++) record = larger(record, cal_record_bytes(cal, i, i + 1));
    }
    return record * ((int64_t)cal->window_capacity + cal->coreset_count);
}

static cal_memory_map map_of_layers(const cal_calibrator *cal) {
    const cal_program *p = cal->program;
    const int64_t channels = cal->settings.bias ? p->channel_count : 0;
    int64_t slopes = 0, undo = 0;
    for (int32_t i = 0; i < p->layer_count; i++) {
        slopes += cal_slope_total(&p->layers[i]);
        undo += cal_undo_bytes(&p->layers[i]);
    }
    const int64_t kept = up_to(8 * channels, 8);
    const int64_t held = kept + up_to(4 * (int64_t)cal_held_count(cal->window_capacity, cal->settings.holdout), 8);
    const int64_t bits = CAL_SLOPE_BYTES * slopes + undo, unit = bits + (cal->window_capacity + 7) / 8;
    const int64_t statistics = held + up_to(unit + p->layer_count, 8);
    uint8_t *at = cal->memory;
    return (cal_memory_map){
        .bias_slope = (int32_t *)(void *)at,
        .bias_kept = (int32_t *)(void *)(at + 4 * channels),
        .held_loss = (int32_t *)(void *)(at + kept),
        .slope = at + held,
        .undo = at + held + CAL_SLOPE_BYTES * slopes,
        .held = at + held + bits,
        .unit = at + held + unit,
        .statistics = at + statistics,
        .total = statistics + up_to(cal->statistics_bytes, 8),
    };
}

static cal_memory_map map_of_blocks(const cal_calibrator *cal) {
    const cal_program *p = cal->program;
    int64_t entries = 0, rows = 0, undo = 0;
    for (int32_t i = 0; i < p->layer_count; i++) {
        const cal_layer *layer = &p->layers[i];
        const int32_t height = cal_block_height(cal, layer), width = cal_block_width(cal, layer);
        const int64_t weights = (int64_t)height * width * layer->kernel_h * layer->kernel_w;
        entries = larger(entries, (int64_t)height * width);
        rows = larger(rows, height);
        undo = larger(undo, layer->bits == 8 ? weights : (weights + 7) / 8);
    }
    const int64_t held = 8 * entries + 8 * rows + 8, losses = cal_held_count(cal->window_capacity, cal->settings.holdout);
    const int64_t kept = held + 4 * losses, means = kept + 4 * rows, changed = means + 2 * entries + 2 * rows;
    const int64_t rising = changed + undo, bits = rising + (entries + 7) / 8;
    uint8_t *at = cal->memory;
    return (cal_memory_map){
        .sum = (int64_t *)(void *)at,
        .bias_sum = (int64_t *)(void *)(at + 8 * entries),
        .magnitude = (int64_t *)(void *)(at + 8 * entries + 8 * rows),
        .held_loss = (int32_t *)(void *)(at + held),
        .bias_kept = (int32_t *)(void *)(at + kept),
        .statistics = at + means,
        .undo = at + changed,
        .rising = at + rising,
        .held = at + bits,
        .total = up_to(bits + (cal->window_capacity + 7) / 8, 8),
    };
}

cal_memory_map cal_map(const cal_calibrator *cal) {
    return cal->settings.block > 0 ? map_of_blocks(cal) : map_of_layers(cal);
}

int64_t cal_memory_bytes(const cal_calibrator *cal) { return cal_map(cal).total; }

int64_t cal_workspace_bytes(const cal_calibrator *cal) {
    int64_t bytes = 8 * (int64_t)cal->window_capacity; /* identities */
    if (cal->settings.block > 0) return bytes;
    bytes = larger(bytes, 1024); /* the histogram of proposal.c */
    for (int32_t i = 0; i < cal->program->layer_count; i++)
        bytes = larger(bytes, 8 * (int64_t)cal->program->layers[i].c_out); /* scores of biases */
    return larger(bytes, 4 * ((int64_t)cal->window_capacity + cal->coreset_count)); /* a channel's signals */
}
