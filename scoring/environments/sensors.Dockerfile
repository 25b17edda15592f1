# The image of the environment batchscore-sensors. Built by Azure ML (see sensors.yml); the context is this folder.
FROM mcr.microsoft.com/azureml/openmpi5.0-ubuntu24.04:latest

# setuptools 81 has lost pkg_resources, which azureml-core imports where it is there.
ENV CONDA_PREFIX=/azureml-envs/batchscore
RUN conda create --yes --quiet --prefix $CONDA_PREFIX --override-channels --channel conda-forge \
        python=3.12 pip "setuptools<81" \
    && conda clean --all --yes
ENV PATH=$CONDA_PREFIX/bin:$PATH CONDA_DEFAULT_ENV=$CONDA_PREFIX

# Every package by version and hash: sensors.txt and azureml.txt, resolved by `make lock`.
COPY sensors.lock /tmp/requirements/
RUN pip install --no-cache-dir --no-deps --require-hashes -r /tmp/requirements/sensors.lock

# A log line is there when it is printed, not when a buffer is full.
ENV PYTHONUNBUFFERED=1
