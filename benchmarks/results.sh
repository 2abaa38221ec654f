#!/usr/bin/env bash
# Gives every command whose table stands in docs/results.md, then writes the page. Hours; what is finished is not done
# again, so it may be stopped and started at will.
#
#     CALIBRANT_DATA=../shared/data bash benchmarks/results.sh [OUT]
set -euo pipefail

out=${1:-OUT}
calibrant=${CALIBRANT:-.venv/bin/calibrant}

run() {
    local name=$1 protocol=$2
    shift 2
    echo "results: $name" >&2
    "$calibrant" bench "$protocol" "$@" --out "$out/$name" > /dev/null
}

three=(--source 1,3,5 --target 2,4,6)
others=none,bn,flip,bp,er,derpp,qcore-paper
pictures=(--dataset cifar10 --network resnet18-w16 --source 0,0,0 --target 1,3,5 --bits 4)

run dsa-cnn qcore "${three[@]}" --updaters $others --seeds 0,1,2
run usc-cnn qcore --dataset usc_had "${three[@]}" --updaters $others --seeds 0,1,2
run dsa-full qcore --full --bits 4 --updaters none,bn,flip,bp,er,derpp
run dsa-inception qcore "${three[@]}" --network inception_time --bits 4 --updaters $others
run cifar qcore "${pictures[@]}" --updaters none,bn,flip,bp,er,derpp
run cifar-gate qcore "${pictures[@]}" --updaters none,flip --gate off,on
run cifar-no-labels qcore "${pictures[@]}" --updaters none,bn,flip --labels 0
run coreset-rules qcore "${three[@]}" --bits 4 --updaters flip --coreset-rule random,balanced,misses,histogram,kmeans --seeds 0,1,2
run coreset-sizes qcore "${three[@]}" --bits 4 --updaters flip --coreset 10,20,30,50 --seeds 0,1,2
run coreset-bits qcore "${three[@]}" --bits 4 --updaters flip --coreset-bits 8,4 --seeds 0,1,2
run controls qcore "${three[@]}" --bits 4 --updaters none,flip,flip-pooled,flip-taps,flip-fixed,flip-true,flip-random,bias,reset --seeds 0,1,2
run late-labels qcore "${three[@]}" --bits 4 --updaters none,flip --delay 2 --seeds 0,1,2
run few-labels qcore --full --bits 4 --updaters none,flip --labels 9 --label-choice chance,ask --capacity 110
run no-labels qcore --full --bits 4 --updaters none,bn,flip --labels 0 --gate on
run no-drift qcore --source 1,2,3,4,5,6 --target 1,2,3,4,5,6 --bits 4 --updaters none,flip --windows 50 --window 9 --gate on
run gate qcore "${three[@]}" --bits 4 --updaters none,flip --gate off,on
run sparse sparse --model mcunet-5fps --task cifar10 --seeds 0,1

"$calibrant" bench report --runs "$out"
