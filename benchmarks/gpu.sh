#!/usr/bin/env bash
# gpu.sh OUT [WHEELS] [SECONDS]: every check and measurement that needs a CUDA card, most wanted first.
#
# Run it in the project's root, on a machine whose python3 has torch. WHEELS is a folder of wheels for what else is
# missing there, where no registry can be reached ("-" or nothing: everything is installed). OUT/results.tgz holds a JSON
# file and a log of each step and steps.tsv, and is written again after each step, so that an interruption keeps it.
# No step is started that SECONDS (420 by default) leave no time for; the table at the end names it.
#
# To try the script itself where there is no card:
#   BIOMEFORMER_GPU_SMALL=1 BIOMEFORMER_GPU_DEVICE=cpu bash benchmarks/gpu.sh OUT
set -u
out=${1:?give a folder for results.tgz}
wheels=${2:--}
total=${3:-420}
slack=1
# A CPU that others use too is slow, and small forms are for trying the steps, not their times.
[ -n "${BIOMEFORMER_GPU_SMALL:-}" ] && slack=4 && total=${3:-1800}
least=15 # Seconds without which no step is worth starting.
device=${BIOMEFORMER_GPU_DEVICE:-cuda}
began=$SECONDS
work=$(mktemp -d)
mkdir -p "$out"

keep() { # Archive what is there, whole or not at all.
  tar czf "$out/.results.tgz.partial" -C "$work" . && mv "$out/.results.tgz.partial" "$out/results.tgz"
}
trap 'keep; exit 143' TERM INT

export PYTHONPATH=$PWD/modeling:$PWD/benchmarks${PYTHONPATH:+:$PYTHONPATH}
export HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=true BIOMEFORMER_GPU_DEVICE=$device
export BIOMEFORMER_GPU_RESULTS=$work/tests.json
if [ "$wheels" != - ]; then
  site=$(mktemp -d)
  if ! python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$site" \
    "$wheels"/*.whl >"$work/install.log" 2>&1; then
    echo "error: the wheels in $wheels cannot be installed: $(tail -1 "$work/install.log")" >&2
    keep
    exit 2
  fi
  export PYTHONPATH=$site:$PYTHONPATH
fi

printf 'step\tlimit_s\texit\tseconds\tresult\n' >"$work/steps.tsv"
failed=0 skipped=0
step() { # NAME LIMIT COMMAND...: run it for LIMIT seconds at most, if that much or a useful part is left.
  local name=$1 limit=$(($2 * slack)) left=$((total - SECONDS + began)) code result first
  shift 2
  if [ "$left" -lt $least ]; then
    printf '%s\t%s\t-\t-\tnot started: %s of %s s are left\n' "$name" "$limit" "$left" "$total" >>"$work/steps.tsv"
    skipped=$((skipped + 1))
    keep
    return
  fi
  [ "$limit" -gt "$left" ] && limit=$left
  first=$SECONDS
  timeout -k 5 "$limit" "$@" >"$work/$name.log" 2>&1
  code=$?
  [ $code -ne 0 ] && failed=1
  result=$(grep -v '^ *$' "$work/$name.log" | grep -v USDT: | tail -1 | tr '\t' ' ' | cut -c1-140)
  case $code in 124 | 137) result="stopped at its limit; $result" ;; esac
  printf '%s\t%s\t%s\t%s\t%s\n' "$name" "$limit" $code $((SECONDS - first)) "$result" >>"$work/steps.tsv"
  keep
}

if [ -n "${BIOMEFORMER_GPU_SMALL:-}" ]; then
  shape=tiny proteins=esm2-tiny precision=float32 float8=float32
  attention=(--reads 100 --batches 3) reads=(--reads 32 --host-reads 100 --rounds 1) genes=(--n-genes 64 --runs 1)
  recipes=(--small) points=(--points 5000 --hidden-size 32 --clusters "16,64" --rounds 1)
else
  shape=dnabert2 proteins=esm2-650m precision=bfloat16 float8=bfloat16,float8
  attention=() reads=(--reads 40000 --rounds 2) genes=(--runs 3) recipes=()
  points=(--points 2000000 --clusters "1024,4096" --rounds 1)
fi
[ "$device" = cpu ] && recipes+=(--cpu)
speed=(python3 benchmarks/speed.py --device "$device")
genome=(python3 benchmarks/genome_transformer_speed.py --device "$device" --dtype "$precision" "${genes[@]}")

step environment 40 bash -c "nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv; python3 -c '
import json
from biomeformer.inference.environment import describe_environment
print(json.dumps(describe_environment()))' | tee '$work/environment.json'"
# Which kernels DNABERT-2's attention runs, and what cuDNN's plans cost.
step attention 60 python3 benchmarks/gpu_attention.py --device "$device" --shape $shape "${attention[@]}" \
  --output "$work/attention.json"
# Counts equal in any batches, from run to run and to the CPU's; vectors; k-means to the last bit; memory that does not
# suffice; five steps in bfloat16.
step tests 150 python3 -m pytest -q -p no:cacheprovider tests/gpu
# Reads a second from FASTQ to counts.
step dnabert2 70 "${speed[@]}" --shape $shape --dtypes $precision "${reads[@]}" --output "$work/dnabert2.json"
step dnabert2_float8 70 "${speed[@]}" --shape $shape --dtypes $float8 --compile "${reads[@]}" \
  --output "$work/dnabert2_float8.json"
# 4,096 genes in torch's attention and in the package's own.
step genome_sdpa 45 "${genome[@]}" --ways forward both --attention sdpa --output "$work/genome_sdpa.json"
step genome_eager 45 "${genome[@]}" --ways forward both --attention eager --output "$work/genome_eager.json"
step esm2 60 "${speed[@]}" --shape $proteins --dtypes $precision --rounds 1 --output "$work/esm2.json"
step recipes 110 python3 benchmarks/gpu_recipes.py "${recipes[@]}" --output "$work/recipes.json"
step kmeans 60 python3 benchmarks/kmeans_speed.py --device "$device" "${points[@]}" --output "$work/kmeans.json"

cut -c1-170 "$work/steps.tsv" | column -t -s "$(printf '\t')" 2>/dev/null || cat "$work/steps.tsv"
echo "$((SECONDS - began)) s of $total, $skipped steps not started; results in $out/results.tgz"
rm -rf "$work" ${site:+"$site"}
exit $failed
