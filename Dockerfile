# The demo in a container:
#   docker build -t mmt . && docker run --rm -v "$PWD/logs:/app/logs" mmt
# With CUDA: docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu126 -t mmt:cuda .
#            docker run --rm --gpus all --shm-size 8g mmt:cuda
FROM python:3.12-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

WORKDIR /app
# The newest ones of the index: setup.cfg says which are too old.
# hadolint ignore=DL3013
RUN pip install --no-cache-dir torch torchvision --index-url "${TORCH_INDEX}"
COPY . .
RUN pip install --no-cache-dir --editable . && pip install --no-cache-dir --no-deps fastreid==1.4.0

ENV FASTREID_DATASETS=/app/datasets
CMD ["python", "tools/ablation", "configs/ablation/demo.yml", "--seeds", "1", "--output", "logs/demo", "--results", "logs/demo/results"]
