# car-eval on a GPU. Runs go to the folder it is called from and belong to who calls; weights stay in the volume:
#   docker build -t car-eval .
#   docker run --rm --gpus all --user "$(id -u):$(id -g)" -v car-cache:/cache -v /data:/data:ro -v "$PWD:/work" \
#     car-eval eval voc21 --data-root /data/VOCdevkit --weights openai --device cuda
FROM nvidia/cuda:12.6.3-cudnn-runtime-ubuntu24.04

# Compilers and headers: pydensecrf2 (crf) is built from source. wget: KubeRay's probes.
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends python3 python3-dev python3-venv build-essential git wget \
    && rm -rf /var/lib/apt/lists/*

ENV PATH=/opt/car/bin:$PATH PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1
# A login shell, in which Ray may be started, sets its own PATH.
RUN python3 -m venv /opt/car && echo 'PATH=/opt/car/bin:$PATH' > /etc/profile.d/car.sh
WORKDIR /src
# Requirements first: a change of the code does not install them anew.
COPY constraints.txt ./
RUN pip install --quiet --constraint constraints.txt torch torchvision
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY car_core car_core
COPY dataset_adapters dataset_adapters
COPY evaluation evaluation
COPY results results
COPY support support
# Extras of pyproject.toml; empty for none.
ARG EXTRAS=crf,sam,distributed,serve,video
RUN pip install --quiet --constraint constraints.txt ".${EXTRAS:+[$EXTRAS]}" && rm -rf /src/*

# Any user may write here. One without an entry in /etc/passwd has no name and no home but these.
RUN install -d -m 1777 /cache /work && useradd --home-dir /cache car
ENV HOME=/cache USER=car HF_HOME=/cache/huggingface CAR_CACHE=/cache/car-eval
USER car
WORKDIR /work
ENTRYPOINT ["car"]
CMD ["--help"]
