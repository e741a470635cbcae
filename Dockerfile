# car-eval on a GPU: docker build -t car-eval . && docker run --gpus all -v /data:/data car-eval eval voc21 --data-root
# /data/VOCdevkit --weights openai --device cuda --out /data/runs/voc21
FROM nvidia/cuda:12.6.3-cudnn-runtime-ubuntu24.04

# Compilers and headers: pydensecrf2 is built from source where there is no wheel for this Python.
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends python3 python3-dev python3-venv build-essential git \
    && rm -rf /var/lib/apt/lists/*

ENV PATH=/opt/car/bin:$PATH PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1
RUN python3 -m venv /opt/car
WORKDIR /src
# Requirements first: a change of the code does not install them anew.
COPY constraints.txt ./
RUN pip install --quiet --constraint constraints.txt torch torchvision
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY car_core car_core
COPY dataset_adapters dataset_adapters
COPY evaluation evaluation
COPY results results
RUN pip install --quiet --constraint constraints.txt . && rm -rf /src/*

RUN useradd --create-home car
USER car
WORKDIR /home/car
ENTRYPOINT ["car"]
CMD ["--help"]
