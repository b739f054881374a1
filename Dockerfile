# The demo in a container:
#   docker build -t mmt . && docker run --rm -v "$PWD/logs:/app/logs" mmt
# With CUDA: docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu126 -t mmt:cuda .
#            docker run --rm --gpus all --shm-size 8g mmt:cuda
FROM python:3.12-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

RUN apt-get update && apt-get install --yes --no-install-recommends make && rm -rf /var/lib/apt/lists/*

WORKDIR /app
RUN pip install --no-cache-dir torch torchvision --index-url ${TORCH_INDEX}
COPY . .
RUN pip install --no-cache-dir --editable . && pip install --no-cache-dir --no-deps fastreid==1.4.0

ENV FASTREID_DATASETS=/app/datasets
CMD ["python", "tools/ablation", "configs/ablation/demo.yml", "--seeds", "1", "--output", "logs/demo", "--results", "logs/demo/results"]
