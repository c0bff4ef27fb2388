@echo off
rem Runs install.py with the Python of WanGP. All arguments are passed on: install.bat --help
rem No blocks in parentheses, no delayed expansion and no arguments of call below, so that folder names
rem may hold ( ) ! % ^ and blanks.
setlocal EnableExtensions DisableDelayedExpansion
rem py and python are those of PATH, not files in the current folder.
set "NoDefaultCurrentDirectoryInExePath=1"
rem What messages tell the user to start.
set "SVI_INSTALL=install.bat"
set "CODE=1"
set "RUN="
if exist "%~dp0install.py" goto find
echo install.bat needs the files that were packed with it. Unpack the whole zip file (right-click it, then
echo Extract All), and start install.bat in the new folder.
goto end

:find
rem Where WanGP may be: the folder given, around this one, beside this one.
set "PLACE=%~1"
if defined PLACE call :look
set "PLACE=%~dp0."
call :look
set "PLACE=%~dp0.."
call :look
pushd "%~dp0.."
for /d %%D in (*) do if exist "%%D\wgp.py" set "PLACE=%~dp0..\%%D"& call :look
popd
if defined RUN goto run

rem A conda environment: the active one, then the one that WanGP's guide tells to make.
if defined CONDA_PREFIX set "TRY=%CONDA_PREFIX%\python.exe"& call :try
for %%C in (miniconda3 anaconda3 miniforge3) do set "TRY=%USERPROFILE%\%%C\envs\wan2gp\python.exe"& call :try
for %%C in (miniconda3 anaconda3 miniforge3) do set "TRY=%ProgramData%\%%C\envs\wan2gp\python.exe"& call :try
if defined RUN goto run

py -3 -c "" >nul 2>nul && set "RUN=py -3"
if defined RUN goto run
python -c "" >nul 2>nul && set "RUN=python"
if defined RUN goto run
echo No Python found. Drop WanGP's folder on install.bat, or run:  PATH\python.exe install.py
goto end

:run
%RUN% "%~dp0install.py" %*
set "CODE=%ERRORLEVEL%"

:end
rem Explorer opens a window for this file alone, which would close at once: then cmd's command line names it.
rem PowerShell starts it in the same way, but its window stays; there PSModulePath has a folder of the user.
set "LINE=%CMDCMDLINE:"='%"
if "%LINE:install.bat=%"=="%LINE%" exit /b %CODE%
set "MODULES=none"
if defined PSModulePath set "MODULES=%PSModulePath:"='%"
if "%MODULES:\Users\=%"=="%MODULES%" pause
exit /b %CODE%

:look
rem The environments that WanGP's own installer makes (env_...), and the usual names, in this folder or beside it.
for %%N in (env_venv env_uv env venv .venv) do set "TRY=%PLACE%\%%N\Scripts\python.exe"& call :try
set "TRY=%PLACE%\env_conda\python.exe"
call :try
for %%N in (env venv .venv) do set "TRY=%PLACE%\..\%%N\Scripts\python.exe"& call :try
exit /b 0

:try
if defined RUN exit /b 0
if not exist "%TRY%" exit /b 0
"%TRY%" -c "" >nul 2>nul && set RUN="%TRY%"
exit /b 0
